//! Layer 5: the trainer. Nothing below imports it.

pub mod ablate;
pub mod corpus;
pub mod data;
pub mod distil;
pub mod evaluate;
pub mod export;
pub mod finetune;
pub mod fit;
pub mod fold;
pub mod full;
pub mod loss;
pub mod net;
pub mod prepare;
pub mod pretext;
pub mod pretrain;
pub mod quantize;
pub mod recipes;
pub mod ridge;
pub mod rings;
pub mod roll;
pub mod roll_card;
pub mod run;
pub mod score;
pub mod shards;
pub mod sign;
pub mod verify;
