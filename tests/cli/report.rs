//! The page `report.html`, made from projects that bring their own words: hostile ones too.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::{Project, project::Ran};

/// What nobody should write into a caption, a tag, a prompt or a name.
const HOSTILE: &str =
    "\"'><script>document.title='taken'</script><img src=x onerror=alert(1)>&amp;";

fn project() -> Project {
    // A name becomes one of files, so the manifest refuses slashes and colons in it.
    let name = serde_json::to_string("small \"'><b onclick=alert(1)>&amp;").unwrap();
    let note = serde_json::to_string(HOSTILE).unwrap();
    let project = Project::with_manifest(&format!(
        "# {HOSTILE}\n[project]\nname = {name}\noutput = \"out\"\ndevice = \"cpu\"\nnote = {note}\n\n\
         [[dataset]]\nimage_dir = \"pictures\"\nresolution = 64\nmin_bucket_reso = 32\n\
         bucket_reso_steps = 16\n\n[stages.merge]\nprepend_tags = [\"sks\"]\n"
    ));
    for (seed, picture) in ["a.png", "b.png", "<b>&'c.png"].iter().enumerate() {
        project.picture(&format!("pictures/{picture}"), (640, 480), seed as u8);
    }
    project.file("pictures/a.caption", format!("a cat {HOSTILE}"));
    project.file("pictures/a.txt", format!("cat, {HOSTILE}"));
    project.file("pictures/b.caption", "a dog");
    project
}

/// A picture as a training draws one.
fn drawn(project: &Project, name: &str, told: &serde_json::Value) {
    let path = format!("out/samples/finetune/{name}");
    project.picture(&path, (64, 64), name.len() as u8);
    let mut png = std::fs::read(project.path(&path)).unwrap();
    let body = [b"fluxpipe\0\0\0\0\0", told.to_string().as_bytes()].concat();
    let mut chunk = (body.len() as u32).to_be_bytes().to_vec();
    let checked = [b"iTXt", &body[..]].concat();
    chunk.extend(&checked);
    chunk.extend(crc32(&checked).to_be_bytes());
    // Behind the signature and the header.
    png.splice(33..33, chunk);
    project.file(&path, png);
}

/// CRC-32 as PNG has it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

fn run(project: &Project) -> Ran {
    project.run(&["run", "project.toml"]).exits(0)
}

/// Fails unless every element that is opened is closed, in its turn.
#[track_caller]
fn is_whole(html: &str) {
    const CLOSED: [&str; 4] = ["meta", "img", "br", "!DOCTYPE"];
    let mut open = Vec::new();
    let body = html.split_once("<style>").unwrap();
    let body = format!("{}{}", body.0, body.1.split_once("</style>").unwrap().1);
    for tag in body.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("a lone `<` before {tag}"));
        let name = tag.split([' ', '\n', '/']).next().unwrap();
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "before </{closed}>"),
            None if tag.ends_with('/') || CLOSED.contains(&name) => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "not closed");
}

fn count(html: &str, text: &str) -> usize {
    html.matches(text).count()
}

#[test]
fn what_people_wrote_is_shown_and_never_obeyed() {
    let project = project();
    let prompt = format!("a cat {HOSTILE}");
    for (name, epoch) in [("e000000-01.png", 0), ("e000001-01.png", 1), ("e000002-01.png", 2)] {
        let (step, seed) = (epoch * 10, 7);
        let told =
            json!({"prompt": prompt, "seed": seed, "epoch": epoch, "step": step, "steps": 4});
        drawn(&project, name, &told);
    }
    let ran = run(&project);
    assert!(ran.stdout.contains("Report: out/report.html\n"), "{}", ran.stdout);
    let html = project.read("out/report.html");
    is_whole(&html);
    assert_eq!(count(&html, "<script"), 0);
    assert_eq!(count(&html, "<img src=x"), 0);
    assert!(count(&html, "&lt;script&gt;document.title=&#39;taken&#39;") >= 5);
    for id in ["drawn", "ran", "captions", "manifest", "provenance"] {
        assert_eq!(count(&html, &format!("<section id=\"{id}\">")), 1, "{id}");
    }
    assert!(html.contains("&lt;b&gt;&amp;&#39;c.png"));
    // Three pictures of the dataset; the sample pictures, of which two stand on top too.
    assert_eq!(count(&html, "<img src=\"data:image/jpeg;base64,"), 3 + 3 + 2);
    for when in ["before", "epoch 1", "epoch 2"] {
        assert!(html.contains(&format!("<figcaption>{when}</figcaption>")), "{when}");
    }
    assert!(html.contains("<a href=\"samples/finetune/e000002-01.png\">"));
    assert!(html.contains("<span class=\"word rules\""), "the tag of the manifest");
    assert!(html.contains("<span class=\"word hand\""), "the words of a sidecar");
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn pictures_of_a_stage_stand_before_and_after() {
    let project = project();
    let told =
        json!({"prompt": "a dog", "seed": 5, "steps": 4, "cfg": 2.0, "model": {"name": "x"}});
    for ending in ["", "-before", "-compare"] {
        drawn(&project, &format!("001-5-a-dog{ending}.png"), &told);
    }
    let told = json!({"prompt": "a cat", "seed": 6, "before": {"name": "x"}});
    drawn(&project, "002-6-a-cat.png", &told);
    project.run(&["report", "project.toml"]).exits(0);
    let html = project.read("out/report.html");
    // On top and in its row; the picture of both says nothing new.
    for when in ["before", "after", "before and after"] {
        assert_eq!(count(&html, &format!("<figcaption>{when}</figcaption>")), 2, "{when}");
    }
    assert!(html.contains("seed 5, 4 steps, cfg 2"));
}

#[test]
fn the_page_is_written_anew_where_there_is_something_new() {
    let project = project();
    let before = project.run(&["report", "project.toml"]).exits(0);
    assert_eq!(before.stdout, "Report: out/report.html\n");
    assert!(project.read("out/report.html").contains("Nothing ran yet."));
    run(&project);
    let first = project.read("out/report.html");
    assert!(first.contains(">done</span>"));
    let idle = run(&project);
    assert!(!idle.stdout.contains("Report:"), "{}", idle.stdout);
    assert_eq!(project.read("out/report.html"), first, "nothing ran, nothing is told");
    project.file("pictures/b.caption", "a brown dog");
    project.run(&["run", "project.toml", "--json"]).exits(0);
    let second = project.read("out/report.html");
    assert!(second.contains("a brown dog") && second.contains("3 runs"));

    // Elsewhere it leads to no files, which lie in the output folder.
    drawn(&project, "e000001-01.png", &json!({"prompt": "a dog", "seed": 1, "epoch": 1}));
    project.run(&["report", "project.toml", "-o", "elsewhere/page.html"]).exits(0);
    let elsewhere = project.read("elsewhere/page.html");
    assert!(elsewhere.contains("a dog") && !elsewhere.contains("<a href=\"samples"));
    is_whole(&elsewhere);
}

#[test]
fn no_run_fails_for_its_report() {
    let project = project();
    std::fs::create_dir_all(project.path("out/report.html")).unwrap();
    let ran = run(&project);
    assert!(ran.stdout.contains("out/report.html is not written"), "{}", ran.stdout);
    assert!(project.path("out/meta_data.json").exists());
    let asked = project.run(&["report", "project.toml"]).exits(1);
    assert!(asked.stderr.contains("fluxpipe::cli::write"), "{}", asked.stderr);
}

#[test]
fn what_cannot_be_told_does_not_take_the_rest_with_it() {
    let project = project();
    run(&project);
    project.file("pictures/b.png", "no picture any more");
    project.file("pictures/a.caption", [0xff, 0xfe, 0x00]);
    project.file("out/samples/finetune/broken.png", "no picture");
    for entry in std::fs::read_dir(project.path("out/store/v1/runs")).unwrap() {
        let path = entry.unwrap().path();
        let record = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &record[..record.len() / 2]).unwrap();
    }
    project.run(&["report", "project.toml"]).exits(0);
    let html = project.read("out/report.html");
    is_whole(&html);
    assert!(html.contains(">not ended</span>"), "the record breaks off");
    assert!(html.contains("<section id=\"provenance\">"));
}

/// The browser of this machine, where it has one.
fn browser() -> Option<&'static str> {
    let there = |name: &&str| {
        let mut command = Command::new(name);
        let command = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(there)
}

#[test]
fn a_browser_finds_the_main_parts() {
    let Some(browser) = browser() else {
        eprintln!("skipped: there is no Chromium on this machine");
        return;
    };
    let project = project();
    drawn(&project, "e000001-01.png", &json!({"prompt": HOSTILE, "seed": 1, "epoch": 1}));
    run(&project);
    let profile = project.path("profile");
    let page = format!("file://{}", project.path("out/report.html").display());
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(page)
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for id in ["drawn", "ran", "captions", "manifest", "provenance"] {
        assert_eq!(count(&dom, &format!("<section id=\"{id}\">")), 1, "{id}\n{dom}");
    }
    assert_eq!(count(&dom, "<script"), 0);
    assert!(!dom.contains("<title>taken"), "a caption was obeyed");
    assert_eq!(count(&dom, "src=\"data:image/jpeg"), 4);
}
