//! The page that a run writes about itself.

use crate::Project;

fn page(project: &Project) -> String {
    project.read("out/report.html")
}

#[track_caller]
fn has(html: &str, texts: &[&str]) {
    for text in texts {
        assert!(html.contains(text), "`{text}` is not on the page");
    }
}

#[test]
fn a_run_tells_what_it_made_and_why() {
    let project = Project::fresh();
    project.replace("image_dir = \"pictures\"", "image_dir = \"pictures\"\nvalidation_split = 0.3");
    project.run().exits(0);
    let html = page(&project);
    for id in ["training", "hardest", "dataset", "captions", "ran", "manifest", "provenance"] {
        has(&html, &[&format!("<section id=\"{id}\">")]);
    }
    has(&html, &["held out, after each epoch", "aria-label=\"loss by step of finetune\""]);
    has(&html, &["small.safetensors", "flux1-dev.safetensors", "for the first time"]);
    has(&html, &["a captioner wrote it", "a tagger gave it", "Memory of the host"]);

    project.replace("learning_rate = 1e-4", "learning_rate = 2e-4");
    project.run().exits(0);
    has(&page(&project), &["learning_rate <code>1e-4</code> → <code>2e-4</code>", "2 runs"]);
}

#[test]
fn a_run_that_failed_has_a_page_too() {
    let project = Project::fresh();
    project.replace("device = \"cpu\"", "device = \"cpu\"\non_bad_image = \"fail\"");
    project.file("pictures/bad.png", "no picture");
    project.run().exits(1);
    has(&page(&project), &[">failed</span>", "bad.png", "<section id=\"provenance\">"]);
}
