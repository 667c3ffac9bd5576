//! How far a pull is, from the lines the Engine reports. Pure.

use std::collections::HashMap;

use bollard::models::CreateImageInfo;

use crate::runtime::PullProgress;

/// Layers of an image that are counted. Images have at most 127; more can only be nonsense.
const MAX_LAYERS: usize = 1024;

/// Counts layers and bytes.
#[derive(Debug, Default)]
pub struct Layers {
    layers: HashMap<String, Layer>,
}

#[derive(Debug, Default)]
struct Layer {
    bytes: u64,
    done: bool,
}

impl Layers {
    /// Takes in a line; returns the progress if the line changed it.
    pub fn note(&mut self, line: &CreateImageInfo) -> Option<PullProgress> {
        let (id, status) = (line.id.as_deref()?, line.status.as_deref()?);
        let done = matches!(status, "Pull complete" | "Already exists");
        let known = matches!(status, "Pulling fs layer" | "Waiting" | "Downloading" | "Download complete") || done;
        if !known || (self.layers.len() >= MAX_LAYERS && !self.layers.contains_key(id)) {
            return None;
        }
        let before = self.progress();
        let layer = self.layers.entry(id.to_owned()).or_default();
        layer.done |= done;
        if status == "Downloading" {
            let current = line.progress_detail.as_ref().and_then(|it| it.current).unwrap_or_default();
            layer.bytes = layer.bytes.max(u64::try_from(current).unwrap_or_default());
        }
        Some(self.progress()).filter(|it| *it != before)
    }

    fn progress(&self) -> PullProgress {
        PullProgress {
            layers_done: self.layers.values().filter(|it| it.done).count() as u32,
            layers: self.layers.len() as u32,
            bytes: self.layers.values().map(|it| it.bytes).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    #[test]
    fn layers_add_up() {
        let mut layers = Layers::default();
        let mut check = |id: &str, status: &str, current: Option<i64>, expected: Option<(u32, u32, u64)>| {
            let line = CreateImageInfo {
                id: Some(id.into()),
                status: Some(status.into()),
                progress_detail: Some(ProgressDetail { current, total: None }),
                ..CreateImageInfo::default()
            };
            let found = layers.note(&line).map(|it| (it.layers_done, it.layers, it.bytes));
            assert_eq!(found, expected, "{id} {status}");
        };
        check("latest", "Pulling from library/nginx", None, None);
        check("a", "Pulling fs layer", None, Some((0, 1, 0)));
        check("b", "Already exists", None, Some((1, 2, 0)));
        check("a", "Downloading", Some(10), Some((1, 2, 10)));
        check("a", "Downloading", Some(-3), None);
        check("a", "Extracting", Some(5), None);
        check("a", "Pull complete", None, Some((2, 2, 10)));
    }
}
