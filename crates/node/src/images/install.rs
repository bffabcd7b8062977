//! What every source of images ends in: layers that are missing are unpacked, then the image is made seen.

use std::io::Read;

use super::error::StoreError;
use super::layout::Staging;
use super::record::{ImageConfig, Record};
use super::store::Store;
use super::unpack::unpack_layer;
use crate::runtime::ImageInfo;

/// How often an image is put together again when somebody removes a layer of it in the moment before it is complete.
pub(crate) const COMMIT_TRIES: usize = 3;

/// An image whose configuration was read.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// sha256:… of the configuration.
    pub(crate) id: String,
    /// How to start in it.
    pub(crate) config: ImageConfig,
    /// diffIDs, the bottom one first.
    pub(crate) diff_ids: Vec<String>,
    /// Full names to give it.
    pub(crate) names: Vec<String>,
    /// It comes from no registry.
    pub(crate) kept: bool,
}

impl Incoming {
    /// For the store.
    pub(crate) fn record(&self) -> Record {
        let (id, layers, config) = (self.id.clone(), self.diff_ids.clone(), self.config.clone());
        Record { id, layers, size: 0, config, kept: self.kept }
    }
}

impl Store {
    /// Installs an image whose layers can be read one after another; `open` gives the nth, the bottom one is 0.
    pub(crate) fn install<'a>(
        &self,
        staging: &Staging,
        image: &Incoming,
        open: impl Fn(usize) -> Result<Box<dyn Read + 'a>, StoreError>,
    ) -> Result<ImageInfo, StoreError> {
        for _ in 0..COMMIT_TRIES {
            for (index, diff_id) in image.diff_ids.iter().enumerate() {
                let _lock = self.layout.layer_lock_blocking(diff_id)?;
                if self.layout.layer_size(diff_id)?.is_none() {
                    let blob = open(index)?;
                    self.layout.add_layer(staging, diff_id, |dir| unpack_layer(blob, diff_id, dir))?;
                }
            }
            if self.commit(image.record(), &image.names)? {
                return self.info(&image.id);
            }
        }
        Err(StoreError::content(&image.id, "its layers were removed as often as they were unpacked"))
    }
}
