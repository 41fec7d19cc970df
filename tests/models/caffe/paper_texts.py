"""The paper's networks as prototxts, written from the papers' tables and sharing nothing with the PyTorch classes.

Each function gives the text and, by layer, the shapes of weight and bias. `narrow` divides the channels of every layer
but the last.
"""

from __future__ import annotations

# Chatfield et al. 2014, Table 1, CNN-S: number, size, stride; then the pooling after it. The second convolution is
# padded in the table and not in the release, whose parameters and later sizes are the same.
CNN_S = """
conv1 96x7x7 stride 2 pad 0 lrn pool 3
conv2 256x5x5 stride 1 pad 0 pool 2
conv3 512x3x3 stride 1 pad 1
conv4 512x3x3 stride 1 pad 1
conv5 512x3x3 stride 1 pad 1 pool 3
"""

# Simonyan and Zisserman 2015, Table 1, column D.
VGG16 = "conv3-64 conv3-64 | conv3-128 conv3-128 | conv3-256 conv3-256 conv3-256 | conv3-512 conv3-512 conv3-512 |" \
    " conv3-512 conv3-512 conv3-512"  # fmt: skip

# Szegedy et al. 2015, Table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
INCEPTIONS = """
3a 64 96 128 16 32 32
3b 128 128 192 32 96 64
pool3
4a 192 96 208 16 48 64
4b 160 112 224 24 64 64
4c 128 128 256 24 64 64
4d 112 144 288 32 64 64
4e 256 160 320 32 128 128
pool4
5a 256 160 320 32 128 128
5b 384 192 384 48 128 128
"""

INPUT = 'input: "data"\ninput_shape { dim: 1 dim: 3 dim: 224 dim: 224 }\n'


class Writer:
    """A prototxt as it grows, in either dialect."""

    def __init__(self, old=False):
        self.old, self.text, self.shapes = old, INPUT, {}
        if old:
            self.text = 'input: "data"\n' + "".join(f"input_dim: {size}\n" for size in (1, 3, 224, 224))

    def layer(self, name, kind, bottoms, top, options=""):
        word, written = ("layers", kind.upper()) if self.old else ("layer", f'"{kind}"')
        if self.old and kind == "InnerProduct":
            written = "INNER_PRODUCT"
        ends = "".join(f' bottom: "{bottom}"' for bottom in bottoms)
        self.text += f'{word} {{ name: "{name}" type: {written}{ends} top: "{top}" {options} }}\n'
        return top

    def conv(self, name, relu, bottom, inputs, outputs, kernel, stride=1, pad=0):
        options = f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {pad}"
        self.layer(name, "Convolution", [bottom], name, f"convolution_param {{ {options} }}")
        self.shapes[name] = [(outputs, inputs, kernel, kernel), (outputs,)]
        return self.layer(relu, "ReLU", [name], name)

    def pool(self, name, bottom, kernel, stride, pad=0, method="MAX"):
        options = f"pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad}"
        return self.layer(name, "Pooling", [bottom], name, f"pooling_param {{ {options} }}")

    def full(self, name, bottom, inputs, outputs):
        self.shapes[name] = [(outputs, inputs), (outputs,)]
        return self.layer(name, "InnerProduct", [bottom], name, f"inner_product_param {{ num_output: {outputs} }}")

    def classifier(self, bottom, inputs, hidden, classes):
        for name, size in (("6", inputs), ("7", hidden)):
            bottom = self.full(f"fc{name}", bottom, size, hidden)
            self.layer(f"relu{name}", "ReLU", [bottom], bottom)
            self.layer(f"drop{name}", "Dropout", [bottom], bottom, "dropout_param { dropout_ratio: 0.5 }")
        self.full("fc8", bottom, hidden, classes)
        return self.text, self.shapes


def cnn_s(classes=1000, narrow=1):
    writer, bottom, channels = Writer(old=True), "data", 3
    for line in CNN_S.split("\n")[1:-1]:
        name, size, _, stride, _, pad, *rest = line.split()
        count, kernel, _ = map(int, size.split("x"))
        number = name[-1]
        bottom = writer.conv(name, f"relu{number}", bottom, channels, count // narrow, kernel, int(stride), int(pad))
        channels = count // narrow
        if "lrn" in rest:
            # k = 2, n = 5, alpha = 1e-4, beta = 0.75 as Krizhevsky et al. have it; Caffe divides alpha by n.
            options = "lrn_param { local_size: 5 alpha: 0.0005 beta: 0.75 k: 2 }"
            bottom = writer.layer(f"norm{number}", "LRN", [bottom], f"norm{number}", options)
        if "pool" in rest:
            bottom = writer.pool(f"pool{number}", bottom, int(rest[-1]), int(rest[-1]))
    return writer.classifier(bottom, channels * 36, 4096 // narrow, classes)


def vgg16(classes=1000, narrow=1):
    writer, bottom, channels = Writer(), "data", 3
    for stage, items in enumerate(VGG16.split("|"), 1):
        for place, item in enumerate(items.split(), 1):
            count = int(item.split("-")[1]) // narrow
            bottom = writer.conv(f"conv{stage}_{place}", f"relu{stage}_{place}", bottom, channels, count, 3, pad=1)
            channels = count
        bottom = writer.pool(f"pool{stage}", bottom, 2, 2)
    return writer.classifier(bottom, channels * 49, 4096 // narrow, classes)


def googlenet(classes=1000, narrow=1):
    writer, norm = Writer(), "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
    writer.conv("conv1/7x7_s2", "conv1/relu_7x7", "data", 3, 64 // narrow, 7, 2, 3)
    writer.pool("pool1/3x3_s2", "conv1/7x7_s2", 3, 2)
    writer.layer("pool1/norm1", "LRN", ["pool1/3x3_s2"], "pool1/norm1", norm)
    writer.conv("conv2/3x3_reduce", "conv2/relu_3x3_reduce", "pool1/norm1", 64 // narrow, 64 // narrow, 1)
    writer.conv("conv2/3x3", "conv2/relu_3x3", "conv2/3x3_reduce", 64 // narrow, 192 // narrow, 3, pad=1)
    writer.layer("conv2/norm2", "LRN", ["conv2/3x3"], "conv2/norm2", norm)
    bottom, channels = writer.pool("pool2/3x3_s2", "conv2/norm2", 3, 2), 192 // narrow
    for line in INCEPTIONS.split("\n")[1:-1]:
        name, *sizes = line.split()
        if not sizes:
            bottom = writer.pool(f"{name}/3x3_s2", bottom, 3, 2)
            continue
        counts = [int(size) // narrow for size in sizes]
        block = f"inception_{name}"

        def conv(short, bottom, inputs, outputs, kernel=1, block=block):
            return writer.conv(
                f"{block}/{short}", f"{block}/relu_{short}", bottom, inputs, outputs, kernel, pad=kernel // 2
            )

        ends = [
            conv("1x1", bottom, channels, counts[0]),
            conv("3x3", conv("3x3_reduce", bottom, channels, counts[1]), counts[1], counts[2], 3),
            conv("5x5", conv("5x5_reduce", bottom, channels, counts[3]), counts[3], counts[4], 5),
            conv("pool_proj", writer.pool(f"{block}/pool", bottom, 3, 1, 1), channels, counts[5]),
        ]
        bottom = writer.layer(f"{block}/output", "Concat", ends, f"{block}/output")
        channels = counts[0] + counts[2] + counts[4] + counts[5]
    bottom = writer.pool("pool5/7x7_s1", bottom, 7, 1, method="AVE")
    writer.layer("pool5/drop_7x7_s1", "Dropout", [bottom], bottom, "dropout_param { dropout_ratio: 0.4 }")
    writer.full("loss3/classifier", bottom, channels, classes)
    return writer.text, writer.shapes


TEXTS = {"cnn-s": cnn_s, "vgg16": vgg16, "googlenet": googlenet}
