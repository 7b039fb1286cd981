//! Small neural networks as PyTorch, Keras and scikit-learn export them to ONNX: dense layers, 1-D
//! convolutions, pooling, GRU and LSTM, activations, and the reshapes that exporters put around them. No
//! clock, no file, no panic on any bytes; everything that a file asks for is bounded before memory is taken.
//!
//! A [`Network`] is read once and becomes a [`Plan`] for a number of rows: shapes are known then, whatever
//! depends on shapes alone is computed, and running the plan allocates nothing. A row's result does not
//! depend on the rows beside it, nor on how many there are.

mod arithmetic;
mod error;
mod graph;
mod kernel;
mod layers;
mod layout;
mod plan;
mod step;
mod wire;

pub use error::NetworkError;
pub use graph::{MAX_FILE_BYTES, Network};
pub use plan::{MAX_BATCH, Plan};

#[cfg(test)]
mod tests;
