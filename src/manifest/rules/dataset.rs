//! The rules of a `[[dataset]]`, but for those of captions (`manifest/captions.rs`).

use super::{super::Dataset, Mistake, Rules};

impl Rules<'_> {
    pub(in super::super) fn dataset(&mut self, dataset: &Dataset) {
        self.captions(dataset);
        self.sidecar_ending(&dataset.caption_extension);
        self.views(dataset);
        self.buckets(dataset);
    }

    /// Keys about pictures that change nothing as they stand.
    fn views(&mut self, dataset: &Dataset) {
        if self.states("image_variants") && !dataset.random_crop && !dataset.color_aug {
            let reason = "nothing is drawn: neither `random_crop` nor `color_aug` is on";
            self.no_effect("image_variants", "random_crop", reason);
        }
        if self.states("validation_seed") && dataset.validation_split == 0.0 {
            let reason = "no picture is held out";
            self.no_effect("validation_seed", "validation_split", reason);
        }
        if dataset.is_reg && dataset.validation_split > 0.0 {
            let reason = "regularisation pictures are never held out";
            self.no_effect("validation_split", "is_reg", reason);
        }
    }

    fn buckets(&mut self, dataset: &Dataset) {
        let (step, min, max) =
            (dataset.bucket_reso_steps, dataset.min_bucket_reso, dataset.max_bucket_reso());
        let (shorter, longer) = (dataset.resolution.shorter(), dataset.resolution.longer());
        if !dataset.enable_bucket {
            if shorter % 16 != 0 || longer % 16 != 0 {
                let help = "without buckets every picture is brought to exactly this size";
                self.out_of_range("resolution", "a multiple of 16", help);
            }
            for field in [
                "min_bucket_reso",
                "max_bucket_reso",
                "bucket_reso_steps",
                "bucket_no_upscale",
                "aspect",
            ] {
                if self.states(field) {
                    self.no_effect(field, "enable_bucket", "there are no buckets");
                }
            }
            return;
        }
        if dataset.bucket_no_upscale {
            for field in ["min_bucket_reso", "max_bucket_reso"] {
                if self.states(field) {
                    let reason = "each picture gets a bucket of its own size";
                    self.no_effect(field, "bucket_no_upscale", reason);
                }
            }
            if shorter < step {
                self.smaller("resolution", shorter, "bucket_reso_steps", step);
            }
            return;
        }
        if min > max {
            self.smaller("max_bucket_reso", max, "min_bucket_reso", min);
        } else if shorter < min {
            self.smaller("resolution", shorter, "min_bucket_reso", min);
        } else if longer > max {
            self.smaller("max_bucket_reso", max, "resolution", longer);
        } else if step > shorter {
            self.smaller("resolution", shorter, "bucket_reso_steps", step);
        }
    }

    /// One size is smaller than another that it must reach.
    fn smaller(&mut self, small: &str, size: u32, large: &str, least: u32) {
        let mistake = Mistake::Conflict {
            what: format!("`{small}` of {size} is smaller than `{large}` of {least}"),
            help: format!("raise `{small}` or lower `{large}`"),
        };
        let labels = [format!("{size} pixels"), format!("{least} pixels")];
        self.broken(&[small, large], &[&labels[0], &labels[1]], mistake);
    }
}
