//! What is in a drawn picture, and the words for it.

use crate::base::Stream;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($variant:ident $word:literal),*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $(#[doc = concat!("\"", $word, "\"")] $variant),* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word that captions and tags use.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

words! {
    /// The form of a thing.
    Shape: Circle "circle", Square "square", Triangle "triangle", Ring "ring", Cross "cross",
    Heart "heart", Star "star"
}
words! {
    /// The colour of a thing.
    Colour: Red "red", Orange "orange", Yellow "yellow", Green "green", Blue "blue",
    Purple "purple"
}
words! {
    /// The colour around it.
    Background: White "white", Gray "gray", Black "black"
}
words! {
    /// How many things there are.
    Count: One "one", Two "two", Three "three"
}
words! {
    /// How large a single thing is; several are of one size.
    Size: Small "small", Large "large"
}
words! {
    /// What covers a thing.
    Texture: Plain "plain", Striped "striped", Dotted "dotted"
}

/// A picture in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    /// The form of all things in it.
    pub shape: Shape,
    /// Their colour.
    pub colour: Colour,
    /// What is around them.
    pub background: Background,
    /// How many there are.
    pub count: Count,
    /// How large it is, where it is one.
    pub size: Size,
    /// What covers them.
    pub texture: Texture,
}

impl Scene {
    /// A scene with one of these shapes, all else being equally likely; half of all scenes have a
    /// single thing, and half of all things are plain. `shapes` must not be empty.
    #[must_use]
    pub fn draw(shapes: &[Shape], stream: &mut Stream) -> Self {
        fn one_of<T: Copy>(all: &[T], stream: &mut Stream) -> T {
            all[stream.below(all.len())]
        }
        let several = stream.below(2) == 1;
        let covered = stream.below(2) == 1;
        Self {
            shape: one_of(shapes, stream),
            colour: one_of(Colour::ALL, stream),
            background: one_of(Background::ALL, stream),
            count: if several { one_of(&Count::ALL[1..], stream) } else { Count::One },
            size: one_of(Size::ALL, stream),
            texture: if covered { one_of(&Texture::ALL[1..], stream) } else { Texture::Plain },
        }
    }

    /// "a large red circle on a white background", "two striped blue hearts on a black background".
    #[must_use]
    pub fn caption(&self) -> String {
        let number = match self.count {
            Count::One => format!("a {}", self.size.word()),
            several => several.word().to_owned(),
        };
        let texture = match self.texture {
            Texture::Plain => String::new(),
            texture => format!(" {}", texture.word()),
        };
        let plural = match (self.count, self.shape) {
            (Count::One, _) => "",
            (_, Shape::Cross) => "es",
            _ => "s",
        };
        let (colour, shape, background) =
            (self.colour.word(), self.shape.word(), self.background.word());
        format!("{number}{texture} {colour} {shape}{plural} on a {background} background")
    }

    /// The tags that hold, as a tagger would list them.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        let size = (self.count == Count::One).then(|| self.size.word().to_owned());
        let texture = (self.texture != Texture::Plain).then(|| self.texture.word().to_owned());
        let words = [self.shape.word(), self.colour.word()].map(str::to_owned);
        let number = match self.count {
            Count::One => "solo".to_owned(),
            several => several.word().to_owned(),
        };
        words
            .into_iter()
            .chain([format!("{} background", self.background.word()), number])
            .chain(size)
            .chain(texture)
            .collect()
    }

    /// All tags that any scene has, in one order.
    #[must_use]
    pub fn all_tags() -> Vec<String> {
        let plain =
            Shape::ALL.iter().map(|shape| shape.word()).chain(Colour::ALL.iter().map(|c| c.word()));
        plain
            .map(str::to_owned)
            .chain(Background::ALL.iter().map(|b| format!("{} background", b.word())))
            .chain(
                ["solo", "two", "three", "small", "large", "striped", "dotted"].map(str::to_owned),
            )
            .collect()
    }
}
