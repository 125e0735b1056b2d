//! Heads for people.

use super::config::{CorpusConfig, HeadKind};
use super::ict::{IctHead, IctModel};
use crate::error::{Error, Result};
use crate::render::film::{Head, Portrait, Subject};
use std::path::Path;
use std::sync::Arc;

/// Makes the head of any subject.
#[derive(Debug, Clone)]
pub enum Heads {
    Procedural,
    Ict(Arc<IctModel>),
}

impl Heads {
    /// The heads that `config` asks for; `ict` is the folder or file of ICT-FaceKit's head.
    ///
    /// # Errors
    /// ICT's head without its file, or a file that cannot be read.
    pub fn open(config: &CorpusConfig, ict: Option<&Path>) -> Result<Self> {
        match (config.head, ict) {
            (HeadKind::Procedural, _) => Ok(Heads::Procedural),
            (HeadKind::Ict, Some(path)) => Ok(Heads::Ict(Arc::new(IctModel::load(path)?))),
            (HeadKind::Ict, None) => {
                Err(Error::usage("the ict head needs its file")
                    .remedy("give the folder of ict_face_light.npz with --ict"))
            }
        }
    }

    /// The head of `subject`, whose seed is `identity`.
    pub fn of(&self, subject: &Subject, identity: u64) -> Box<dyn Head> {
        match self {
            Heads::Procedural => Box::new(Portrait::new(subject.person.clone())),
            Heads::Ict(model) => Box::new(IctHead::new(model.clone(), subject, identity)),
        }
    }
}
