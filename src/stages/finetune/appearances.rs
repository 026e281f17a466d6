//! What a sample looks like at one of its appearances in the training: which text and which view, and
//! whether its caption is dropped.
//!
//! Every choice is named by the seed of the training, the sample's content and the appearance, so it
//! depends neither on the order of work nor on what other samples choose.

use crate::{
    base::{Digest, Stream},
    manifest::Dataset,
    train::Appearance,
};

/// What the choices depend on.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// Seed of the training.
    pub seed: u64,
    /// Epochs of the training.
    pub epochs: usize,
    /// Texts of the sample.
    pub texts: usize,
    /// Views of the sample.
    pub views: usize,
    /// Share of the appearances without caption.
    pub caption_dropout_rate: f64,
    /// In every so manieth epoch there are no captions; 0 is never.
    pub caption_dropout_every_n_epochs: u32,
    /// Whether the texts are gone through once, from the first to the last, over the whole training.
    pub warms_up: bool,
}

/// What an appearance looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Index of the text; `None` is the empty caption.
    pub text: Option<usize>,
    /// Index of the view.
    pub view: usize,
}

impl Choices {
    /// Of a sample of `dataset` with so many texts and views.
    pub fn new(
        dataset: &Dataset,
        (seed, epochs): (u64, usize),
        texts: usize,
        views: usize,
    ) -> Self {
        Self {
            seed,
            epochs,
            texts,
            views,
            caption_dropout_rate: dataset.caption_dropout_rate,
            caption_dropout_every_n_epochs: dataset.caption_dropout_every_n_epochs,
            warms_up: dataset.token_warmup_step > 0.0,
        }
    }

    /// What `appearance` looks like. A sample that is held out looks the same at all times.
    pub fn of(&self, appearance: &Appearance) -> Choice {
        if appearance.is_held_out() {
            // With a warm-up the first text is a short one; the last has all its parts.
            return Choice { text: Some(if self.warms_up { self.texts - 1 } else { 0 }), view: 0 };
        }
        let text = match self.warms_up {
            true => ((appearance.epoch - 1) * self.texts / self.epochs).min(self.texts - 1),
            false => self.in_turn("text", appearance, self.texts),
        };
        let text = (!self.drops(appearance)).then_some(text);
        Choice { text, view: self.in_turn("view", appearance, self.views) }
    }

    fn drops(&self, appearance: &Appearance) -> bool {
        let every = self.caption_dropout_every_n_epochs as usize;
        if every > 0 && appearance.epoch.is_multiple_of(every) {
            return true;
        }
        let counters = [appearance.epoch as u64, appearance.repeat];
        let mut stream =
            Stream::new(self.seed, "caption dropout", Some(&appearance.content), &counters);
        stream.uniform() < self.caption_dropout_rate
    }

    /// One of `count`, each once before any comes again, in an order that is drawn anew for each round.
    fn in_turn(&self, purpose: &str, appearance: &Appearance, count: usize) -> usize {
        if count < 2 {
            return 0;
        }
        let (round, place) = (appearance.turn / count as u64, appearance.turn % count as u64);
        let mut order = (0..count).collect::<Vec<_>>();
        Stream::new(self.seed, purpose, Some(&appearance.content), &[round]).shuffle(&mut order);
        order[place as usize]
    }
}

/// Of these pictures of one dataset, the ones that are held out: the share `split` of them, at least one
/// and never all. Decided by content, so neither names nor order matter, and a picture that is there
/// twice is not both trained and held out.
pub fn held_out(pictures: &[Digest], split: f64, seed: u64) -> Vec<Digest> {
    let mut ranked = pictures
        .iter()
        .map(|picture| (Stream::new(seed, "validation", Some(picture), &[]).bits(), *picture))
        .collect::<Vec<_>>();
    ranked.sort_unstable();
    ranked.dedup();
    if split <= 0.0 || ranked.len() < 2 {
        return Vec::new();
    }
    let count = (ranked.len() as f64 * split).round() as usize;
    ranked.truncate(count.clamp(1, ranked.len() - 1));
    ranked.into_iter().map(|(_, picture)| picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(texts: usize, views: usize) -> Choices {
        Choices::new(&Dataset::default(), (7, 10), texts, views)
    }

    fn appearance(epoch: usize, repeat: u64, repeats: u64) -> Appearance {
        let turn = (epoch as u64 - 1) * repeats + repeat;
        Appearance { index: 0, content: Digest::of(b"sample"), epoch, repeat, turn }
    }

    #[test]
    fn texts_and_views_take_turns_and_meet_in_all_pairs() {
        let choices = choices(4, 2);
        let shown = (1..=200)
            .map(|epoch| choices.of(&appearance(epoch, 0, 1)))
            .map(|choice| (choice.text.unwrap(), choice.view))
            .collect::<Vec<_>>();
        for round in shown.chunks(4) {
            let mut texts = round.iter().map(|(text, _)| *text).collect::<Vec<_>>();
            texts.sort_unstable();
            assert_eq!(texts, [0, 1, 2, 3]);
        }
        for round in shown.chunks(2) {
            assert_ne!(round[0].1, round[1].1);
        }
        let mut pairs = shown.clone();
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), 8, "every text with every view");
        assert_eq!(choices.of(&appearance(3, 0, 1)), choices.of(&appearance(3, 0, 1)));
    }

    #[test]
    fn captions_are_dropped_at_the_rate_and_in_whole_epochs() {
        let rate = Choices { caption_dropout_rate: 0.25, ..choices(1, 1) };
        let dropped =
            (0..4000).filter(|&repeat| rate.of(&appearance(1, repeat, 4000)).text.is_none());
        // Three standard errors around 1000.
        assert!((918..1082).contains(&dropped.count()));
        let every = Choices { caption_dropout_every_n_epochs: 3, ..choices(1, 1) };
        let dropped = (1..=9).filter(|&epoch| every.of(&appearance(epoch, 0, 1)).text.is_none());
        assert_eq!(dropped.collect::<Vec<_>>(), [3, 6, 9]);
    }

    #[test]
    fn a_warm_up_walks_through_the_texts() {
        let choices = Choices { warms_up: true, ..choices(5, 1) };
        let texts = (1..=10).map(|epoch| choices.of(&appearance(epoch, 0, 1)).text.unwrap());
        assert_eq!(texts.collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn what_is_held_out_depends_on_content_and_seed_alone() {
        let pictures = (0..40_u8).map(|number| Digest::of(&[number])).collect::<Vec<_>>();
        let found = held_out(&pictures, 0.25, 42);
        assert_eq!(found.len(), 10);
        let mut turned = pictures.clone();
        turned.reverse();
        turned.push(pictures[0]);
        assert_eq!(held_out(&turned, 0.25, 42), found);
        assert_ne!(held_out(&pictures, 0.25, 43), found);
        assert_eq!(held_out(&pictures, 0.0, 42), []);
        assert_eq!(held_out(&pictures[..2], 0.001, 42).len(), 1);
        assert_eq!(held_out(&pictures[..2], 0.999, 42).len(), 1);
        assert_eq!(held_out(&pictures[..1], 0.9, 42), []);
    }
}
