//! `fluxpipe demo make DIR`: drawn pictures with true captions.

use std::{collections::HashSet, io, path::PathBuf};

use crate::{
    base::{Stream, atomic, disk},
    cli::{CliError, Exit, Outcome, print},
    dataset::drawn::{Scene, Shape, paint},
    report,
};

/// Draw pictures of shapes, with true captions beside them
///
/// 0001.png, 0001.caption ("a large red circle on a white background"), 0001.txt ("circle, red, white
/// background, solo, large") and so on. The same seed gives the same files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Shapes: circle, square, triangle, ring, cross, heart, star")]
pub struct Make {
    /// The folder to write to; files of the same names in it are replaced
    dir: PathBuf,

    /// How many pictures
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,

    /// Draw only these shapes, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = shape, conflicts_with = "without")]
    only: Vec<Shape>,

    /// Draw all shapes but these
    #[arg(long, value_delimiter = ',', value_parser = shape)]
    without: Vec<Shape>,

    /// Draw only such scenes: words of captions that all must be there
    #[arg(long, value_delimiter = ',')]
    with: Vec<String>,

    /// What stands before the number in the names of files
    #[arg(long, value_name = "PREFIX", default_value = "")]
    name: String,

    /// Pixels of a side
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=4096))]
    side: u32,

    /// Names the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Pictures alone, without captions and tags
    #[arg(long)]
    pictures_only: bool,
}

fn shape(word: &str) -> Result<Shape, String> {
    let found = Shape::ALL.iter().copied().find(|shape| shape.word() == word);
    found.ok_or_else(|| {
        let words = Shape::ALL.iter().map(|shape| shape.word()).collect::<Vec<_>>();
        format!("the shapes are {}", words.join(", "))
    })
}

impl Make {
    pub(super) fn run(self) -> Outcome {
        self.draw().map_err(|source| CliError::Write { path: self.dir.clone(), source })?;
        print(&report::pictures_drawn(&self.dir, self.count))?;
        Ok(Exit::Done)
    }

    fn draw(&self) -> io::Result<()> {
        disk::create_folder(&self.dir)?;
        let all = if self.only.is_empty() { Shape::ALL } else { &self.only };
        let shapes =
            all.iter().copied().filter(|shape| !self.without.contains(shape)).collect::<Vec<_>>();
        for index in 1..=self.count {
            let mut stream = Stream::new(self.seed, "drawn picture", None, &[u64::from(index)]);
            let scene = self.scene(&shapes, &mut stream)?;
            let picture = paint(&scene, self.side, &mut stream);
            let mut png = Vec::new();
            picture
                .write_to(&mut io::Cursor::new(&mut png), image::ImageFormat::Png)
                .map_err(io::Error::other)?;
            let path = |ending| self.dir.join(format!("{}{index:04}.{ending}", self.name));
            atomic::write(&path("png"), &png)?;
            if !self.pictures_only {
                atomic::write(&path("caption"), format!("{}\n", scene.caption()).as_bytes())?;
                atomic::write(&path("txt"), format!("{}\n", scene.tags().join(", ")).as_bytes())?;
            }
        }
        Ok(())
    }

    /// The first scene that has all the words that were asked for.
    fn scene(&self, shapes: &[Shape], stream: &mut Stream) -> io::Result<Scene> {
        const TRIES: usize = 10_000;
        let fits = |scene: &Scene| {
            let caption = scene.caption();
            let words = caption.split(' ').collect::<HashSet<_>>();
            self.with.iter().all(|word| words.contains(word.as_str()))
        };
        (0..TRIES).map(|_| Scene::draw(shapes, stream)).find(fits).ok_or_else(|| {
            io::Error::other(format!("no scene has all of the words {}", self.with.join(", ")))
        })
    }
}
