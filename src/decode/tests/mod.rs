//! Tests of the whole stage: hand-made packets layer by layer, arbitrary bytes, and real captures held against their labels.

mod build;
mod captures;
mod layers;
mod properties;
mod radio;
mod reassembly;
mod tunnels;
