"""Networks: what a model brings along, the paper's own, Caffe files, and the catalogue of other sources."""
