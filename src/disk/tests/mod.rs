mod cache;
mod model;
