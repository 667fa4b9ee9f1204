//! Writes `tests/golden/*.graph` anew from the quantized network. Look at the difference before
//! committing it: the golden test only compares.

#[path = "../tests/tiny/mod.rs"]
mod tiny;

fn main() -> std::io::Result<()> {
    for (stage, applied) in tiny::lower() {
        std::fs::write(tiny::file(stage), applied.graph.to_full_text())?;
    }
    Ok(())
}
