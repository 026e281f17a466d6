//! Pictures within the page: data URIs, as long as there is room for them.

use std::cell::Cell;

use super::text::{base64, text};
use crate::stages::overview::Jpeg;

/// Bytes of pictures, as they stand in the page, that are room for: a page of 8 MB opens at once
/// everywhere and can be sent by mail.
const ROOM: usize = 6_500_000;

/// What is left of the room.
pub struct Pictures {
    room: Cell<usize>,
    /// Pictures that there was no room for.
    left_out: Cell<usize>,
}

impl Pictures {
    /// With all the room.
    pub fn new() -> Self {
        Self { room: Cell::new(ROOM), left_out: Cell::new(0) }
    }

    /// A picture with a text for those who cannot see it; an empty frame where there is none or no room.
    pub fn image(&self, picture: Option<&Jpeg>, alt: &str) -> String {
        let Some(picture) = picture else {
            return "<span class=\"no-picture\">no picture</span>".to_owned();
        };
        let data = base64(picture);
        let Some(room) = self.room.get().checked_sub(data.len()) else {
            self.left_out.set(self.left_out.get() + 1);
            return "<span class=\"no-picture\">not shown</span>".to_owned();
        };
        self.room.set(room);
        format!(
            "<img src=\"data:image/jpeg;base64,{data}\" alt=\"{}\" loading=\"lazy\">",
            text(alt)
        )
    }

    /// How many pictures there was no room for.
    pub fn left_out(&self) -> usize {
        self.left_out.get()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn pictures_end_with_the_room_and_are_counted() {
        let pictures = Pictures::new();
        let large = Arc::new(vec![0; ROOM / 2]);
        assert!(pictures.image(Some(&large), "\"<").contains("alt=\"&quot;&lt;\""));
        assert!(!pictures.image(Some(&large), "").contains("<img"));
        let small = Arc::new(vec![0; 30]);
        assert!(pictures.image(Some(&small), "").contains("<img"));
        assert!(!pictures.image(None, "").contains("<img"));
        assert_eq!(pictures.left_out(), 1);
    }
}
