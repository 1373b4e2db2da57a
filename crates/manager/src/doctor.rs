//! placeholder
use crate::paths::Paths;
/// placeholder
pub async fn run(_: &Paths) -> Vec<serde_json::Value> {
    vec![]
}
