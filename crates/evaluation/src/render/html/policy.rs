//! The content security policy of the page: what it may run and load.

use sha2::{Digest, Sha256};

use super::bitmap::base64;

/// Lets these inline scripts run, and no other; lets nothing be loaded but images inside of the page.
pub(super) fn policy(scripts: &[&str]) -> String {
    let hashes: Vec<String> =
        scripts.iter().map(|script| format!("'sha256-{}'", base64(&Sha256::digest(script)))).collect();
    format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {} 'wasm-unsafe-eval'",
        hashes.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_specification() {
        // The example of Content Security Policy Level 3, 8.4.
        let policy = policy(&["alert('Hello, world.');"]);
        assert!(policy.contains("'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"), "{policy}");
    }
}
