//! The whole engine under load, each figure beside a baseline of the same run.
//!
//! `cargo bench --profile release --bench engine`, or with the names of parts
//! behind `--`: `throughput`, `lateness`, `hostile`, `logs`, `mail`,
//! `pages`. Needs
//! `plugins/build.sh`. `BELLWETHER_BENCH_MINUTES` is how long the HTTP part of
//! `lateness` runs (10).

mod hostile;
mod lateness;
mod logs;
mod mail;
mod pages;
mod support;
mod throughput;

#[path = "../../tests/support/api.rs"]
#[expect(dead_code, reason = "others use the rest of it")]
mod api;
#[path = "../../tests/support/smtp.rs"]
#[expect(dead_code, reason = "others use the rest of it")]
mod smtp;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let run = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        if run("throughput") {
            throughput::run().await;
        }
        if run("logs") {
            logs::run().await;
        }
        if run("mail") {
            mail::run().await;
        }
        if run("pages") {
            pages::run().await;
        }
        if run("lateness") {
            lateness::run().await;
        }
        if run("hostile") {
            hostile::run().await;
        }
    });
}
