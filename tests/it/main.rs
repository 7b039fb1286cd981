//! The whole sensor on real traffic between network namespaces, and by replay.

mod live;
mod replay;
