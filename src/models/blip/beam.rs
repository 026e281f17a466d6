//! Beam search for the text of one picture: numbers in, choices out. Knows no tensors.

use super::scores::{Limits, log_softmax};
use crate::models::tokenizer::BertTokenizer;

/// A text being written, or finished, and how good it is.
#[derive(Clone, Debug, PartialEq)]
struct Text {
    ids: Vec<u32>,
    /// Sum of the log-probabilities of the ids behind the prompt; of a finished text, their mean.
    score: f64,
}

/// One way to go on: the running text `parent`, continued with `token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub parent: usize,
    pub token: u32,
}

/// The search: `beams` texts run side by side, and the best `beams` finished ones are kept.
#[derive(Clone, Debug)]
pub(super) struct BeamSearch {
    beams: usize,
    prompt: usize,
    limits: Limits,
    running: Vec<Text>,
    finished: Vec<Text>,
}

#[derive(Clone, Copy)]
struct Candidate {
    choice: Choice,
    score: f64,
}

impl BeamSearch {
    /// Starts with `prompt` alone. Lengths count the prompt.
    pub fn new(prompt: &[u32], beams: usize, limits: Limits) -> Self {
        let start = Text { ids: prompt.to_vec(), score: 0.0 };
        let (prompt, running) = (prompt.len(), vec![start]);
        Self { beams, prompt, limits, running, finished: Vec::new() }
    }

    /// Goes one token further, given the logits of every running text, one after the other. Tells how
    /// the texts go on, or nothing when the search has ended.
    pub fn step(&mut self, logits: &[f32]) -> Vec<Choice> {
        let candidates = self.candidates(logits);
        let length = self.running[0].ids.len() + 1;
        let generated = (length - self.prompt) as f64;
        let mut running = Vec::with_capacity(self.beams);
        let mut choices = Vec::with_capacity(self.beams);
        for (rank, &Candidate { choice, score }) in candidates.iter().enumerate() {
            let mut ids = self.running[choice.parent].ids.clone();
            ids.push(choice.token);
            if choice.token != BertTokenizer::END {
                running.push(Text { ids, score });
                choices.push(choice);
            } else if rank < self.beams {
                self.finish(Text { ids, score: score / generated });
            }
            if running.len() == self.beams {
                break;
            }
        }
        // The bar is the best candidate, be it ended or running: so decides the last version of the
        // reference's generator that can run the captioner. Later versions look at the running only.
        let best = candidates.first().map_or(f64::NEG_INFINITY, |best| best.score / generated);
        let enough = self.finished.len() >= self.beams && self.worst() >= best;
        if !enough && length >= self.limits.max_length {
            for Text { ids, score } in running.drain(..) {
                self.finish(Text { ids, score: score / generated });
            }
        }
        if enough || length >= self.limits.max_length {
            choices.clear();
        }
        self.running = running;
        choices
    }

    /// The best finished text; of equals, the one found last.
    pub fn best(self) -> Vec<u32> {
        let best = self.finished.into_iter().max_by(|a, b| a.score.total_cmp(&b.score));
        best.map(|text| text.ids).unwrap_or_default()
    }

    fn worst(&self) -> f64 {
        self.finished.iter().map(|text| text.score).fold(f64::INFINITY, f64::min)
    }

    fn finish(&mut self, text: Text) {
        if self.finished.len() == self.beams {
            let worst = self.worst();
            if text.score <= worst {
                return;
            }
            if let Some(index) = self.finished.iter().position(|text| text.score == worst) {
                self.finished.remove(index);
            }
        }
        self.finished.push(text);
    }

    /// The best `2·beams` continuations, best first; of equals, the lower text and token first. Twice
    /// as many as there are beams, so that enough remain if all of the best ones end.
    fn candidates(&self, logits: &[f32]) -> Vec<Candidate> {
        let wanted = 2 * self.beams;
        let mut best: Vec<Candidate> = Vec::with_capacity(wanted + 1);
        let vocabulary = logits.len() / self.running.len();
        for (parent, (text, row)) in self.running.iter().zip(logits.chunks(vocabulary)).enumerate()
        {
            let mut scores = log_softmax(row);
            self.limits.apply(&mut scores, &text.ids);
            for (token, score) in (0_u32..).zip(scores) {
                let score = text.score + score;
                let score = if score.is_nan() { f64::NEG_INFINITY } else { score };
                let full = best.len() == wanted;
                if full && best.last().is_some_and(|last| score <= last.score) {
                    continue;
                }
                let at = best.partition_point(|other| other.score >= score);
                best.insert(at, Candidate { choice: Choice { parent, token }, score });
                best.truncate(wanted);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: usize = BertTokenizer::END as usize;
    const VOCABULARY: usize = END + 1;

    /// Logits in which only these tokens have a chance, with these probabilities.
    fn row(probabilities: &[(usize, f64)]) -> Vec<f32> {
        let mut row = vec![-1e4_f32; VOCABULARY];
        for &(token, probability) in probabilities {
            row[token] = probability.ln() as f32;
        }
        row
    }

    fn search(min_length: usize, max_length: usize) -> BeamSearch {
        BeamSearch::new(&[9], 2, Limits { repetition_penalty: 1.0, min_length, max_length })
    }

    fn pairs(choices: &[Choice]) -> Vec<(usize, u32)> {
        choices.iter().map(|choice| (choice.parent, choice.token)).collect()
    }

    #[test]
    fn a_text_that_starts_worse_can_win() {
        let mut search = search(0, 10);
        assert_eq!(pairs(&search.step(&row(&[(1, 0.6), (2, 0.4)]))), [(0, 1), (0, 2)]);
        // 1 is followed by anything, 2 by 3 for sure: 0.4 beats 0.6 · 0.5.
        let logits = [row(&[(4, 0.5), (5, 0.5)]), row(&[(3, 1.0)])].concat();
        assert_eq!(pairs(&search.step(&logits)), [(1, 3), (0, 4)]);
        let logits = [row(&[(END, 1.0)]), row(&[(END, 1.0)])].concat();
        // What goes on beside the two ends is hopeless, and the step after them shows it.
        assert_eq!(search.step(&logits).len(), 2);
        assert_eq!(search.step(&logits), []);
        assert_eq!(search.best(), [9, 2, 3, BertTokenizer::END]);
    }

    #[test]
    fn the_end_waits_for_the_least_length_and_comes_at_the_greatest() {
        let mut search = search(3, 4);
        let ending = row(&[(END, 0.9), (1, 0.07), (2, 0.03)]);
        // Texts of length 1 and 2 are shorter than 3: neither may end.
        assert_eq!(pairs(&search.step(&ending)), [(0, 1), (0, 2)]);
        let logits = [ending.clone(), ending.clone()].concat();
        assert_eq!(pairs(&search.step(&logits)), [(0, 1), (0, 2)]);
        // The fourth token is the last, whatever it is.
        assert_eq!(search.step(&logits), []);
        assert_eq!(search.best(), [9, 1, 1, BertTokenizer::END]);
    }

    #[test]
    fn the_search_goes_on_while_the_best_candidate_beats_the_worst_kept() {
        let mut search = search(0, 10);
        assert_eq!(search.step(&row(&[(1, 0.6), (2, 0.4)])).len(), 2);
        // Both texts end, and what runs on is far behind: but the kept ones differ, so it is not over.
        let logits = [row(&[(END, 0.9), (3, 0.1)]), row(&[(END, 0.95), (4, 0.05)])].concat();
        assert_eq!(pairs(&search.step(&logits)), [(0, 3), (1, 4)]);
        // Now nothing comes near what is kept.
        let poor = row(&[(END, 0.25), (5, 0.25), (6, 0.25), (7, 0.25)]);
        assert_eq!(search.step(&[poor.clone(), poor].concat()), []);
        assert_eq!(search.best(), [9, 1, BertTokenizer::END]);
    }

    #[test]
    fn a_token_that_the_text_has_costs_more() {
        let limits = Limits { repetition_penalty: 2.0, min_length: 0, max_length: 10 };
        let mut search = BeamSearch::new(&[9], 2, limits);
        assert_eq!(pairs(&search.step(&row(&[(1, 0.6), (2, 0.4)]))), [(0, 1), (0, 2)]);
        // For the first text 1 is worth 0.8², for the second 2 is: 0.6 · 0.64 and 0.4 · 0.8.
        let logits = [row(&[(1, 0.8), (3, 0.2)]), row(&[(1, 0.8), (2, 0.2)])].concat();
        assert_eq!(pairs(&search.step(&logits)), [(0, 1), (1, 1)]);
        let score = |text: usize| search.running[text].score.exp();
        assert!((score(0) - 0.384).abs() < 1e-6 && (score(1) - 0.32).abs() < 1e-6);
    }

    #[test]
    fn numbers_that_are_none_end_in_a_text_all_the_same() {
        let mut search = search(0, 3);
        assert_eq!(search.step(&[f32::NAN; VOCABULARY]).len(), 2);
        assert_eq!(search.step(&[f32::INFINITY; 2 * VOCABULARY]).len(), 0);
        assert_eq!(search.best().len(), 3);
    }
}
