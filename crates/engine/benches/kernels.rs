//! How fast each kernel of this processor does each kind of layer, on one thread.
//!
//! A kind is repeated within one graph, so that bringing images into the engine's order and the result out of it,
//! element by element, is a small part of what is measured. A first layer cannot be repeated: that number has
//! both in it. The rate is of multiplications, and for sums of bytes.

use divan::Bencher;
use divan::counter::ItemsCount;
use onnx2int_engine::{Engine, Kernel, Options};
use onnx2int_graph::{Graph, Tensor, verify};

fn main() {
    divan::main();
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
}

/// Convolutions of one shape, one behind the other, without a change of the image's size.
struct Convolutions {
    repeats: usize,
    channels: usize,
    filters: usize,
    groups: usize,
    window: usize,
    side: usize,
}

impl Convolutions {
    fn text(&self) -> String {
        let &Self { repeats, channels, filters, groups, window, side } = self;
        let (depth, border) = (channels / groups, window / 2);
        let weights = weights(filters * depth * window * window);
        // Of a size that spreads the sums over the bytes; what they are does not change the time.
        let (half, mantissa) = (1_i64 << 22, 1_i64 << 12);
        let high = ((255_i64 << 23) - half + mantissa - 1) / mantissa;
        let shape = format!("[N,{filters},{side},{side}]");
        let mut text = format!(
            "in %x: u8[N,{channels},{side},{side}]\n\
             const %w: i8[{filters},{depth},{window},{window}] = {weights:?}\n\
             const %bias: i32[1,{filters},1,1] = {:?}\n\
             const %mantissa: i32[1,{filters},1,1] = {:?}\n\
             const %high: i32[1,{filters},1,1] = {:?}\n",
            vec![77; filters],
            vec![mantissa; filters],
            vec![high; filters],
        );
        let mut from = "x".to_owned();
        for layer in 0..repeats {
            text += &format!(
                "%sums{layer}: i32{shape} = ConvInteger(%{from}, %w, 3u8, 0i8) \
                 strides=[1,1] pads=[{border},{border},{border},{border}] dilations=[1,1] group={groups}\n\
                 %biased{layer}: i32{shape} = Add(%sums{layer}, %bias)\n\
                 %relu{layer}: i32{shape} = Relu(%biased{layer})\n\
                 %clipped{layer}: i32{shape} = Min(%relu{layer}, %high)\n\
                 %scaled{layer}: i32{shape} = Mul(%clipped{layer}, %mantissa)\n\
                 %rounded{layer}: i32{shape} = Add(%scaled{layer}, {half}i32)\n\
                 %shifted{layer}: i32{shape} = Div(%rounded{layer}, 8388608i32)\n\
                 %byte{layer}: u8{shape} = Cast(%shifted{layer}) to=u8\n"
            );
            from = format!("byte{layer}");
        }
        text + &format!("out %{from}")
    }

    fn bench(&self, bencher: Bencher<'_, '_>, kernel: Kernel) {
        let of_pixel = self.filters * self.channels / self.groups * self.window * self.window;
        let multiplications = self.repeats * of_pixel * self.side * self.side;
        bench(bencher, kernel, &self.text(), &[1, self.channels, self.side, self.side], multiplications);
    }
}

#[divan::bench(args = kernels())]
fn convolution_3x3(bencher: Bencher<'_, '_>, kernel: Kernel) {
    let shape = Convolutions { repeats: 16, channels: 64, filters: 64, groups: 1, window: 3, side: 14 };
    shape.bench(bencher, kernel);
}

#[divan::bench(args = kernels())]
fn convolution_1x1(bencher: Bencher<'_, '_>, kernel: Kernel) {
    let shape = Convolutions { repeats: 32, channels: 128, filters: 128, groups: 1, window: 1, side: 14 };
    shape.bench(bencher, kernel);
}

#[divan::bench(args = kernels())]
fn depthwise_3x3(bencher: Bencher<'_, '_>, kernel: Kernel) {
    let shape = Convolutions { repeats: 64, channels: 64, filters: 64, groups: 64, window: 3, side: 14 };
    shape.bench(bencher, kernel);
}

#[divan::bench(args = kernels())]
fn first_layer(bencher: Bencher<'_, '_>, kernel: Kernel) {
    let shape = Convolutions { repeats: 1, channels: 3, filters: 32, groups: 1, window: 3, side: 32 };
    shape.bench(bencher, kernel);
}

#[divan::bench(args = kernels())]
fn dense(bencher: Bencher<'_, '_>, kernel: Kernel) {
    let (images, depth, filters) = (24, 1024, 256);
    let text = format!(
        "in %x: u8[N,{depth}]\n\
         const %w: i8[{depth},{filters}] = {:?}\n\
         %sums: i32[N,{filters}] = MatMulInteger(%x, %w, 3u8, 0i8)\n\
         out %sums",
        weights(depth * filters),
    );
    bench(bencher, kernel, &text, &[images, depth], images * depth * filters);
}

/// Two branches, each with its multiplier, clipped and divided: what is behind a layer, without the layer.
/// One of a multiplication for each byte is in front, as a graph of integers has to have a layer.
#[divan::bench(args = kernels())]
fn rescale(bencher: Bencher<'_, '_>, kernel: Kernel) {
    const REPEATS: usize = 64;
    let (channels, side) = (64, 14);
    let shape = format!("[N,{channels},{side},{side}]");
    let first = Convolutions { repeats: 1, channels, filters: channels, groups: channels, window: 1, side };
    let mut text = first.text().replace("out %byte0", "");
    let mut from = "byte0".to_owned();
    for layer in 1..=REPEATS {
        text += &format!(
            "%a{layer}: i32{shape} = Cast(%{from}) to=i32\n\
             %b{layer}: i32{shape} = Cast(%x) to=i32\n\
             %left{layer}: i32{shape} = Mul(%a{layer}, 2000000i32)\n\
             %right{layer}: i32{shape} = Mul(%b{layer}, 2100000i32)\n\
             %sum{layer}: i32{shape} = Add(%left{layer}, %right{layer})\n\
             %rounded{layer}: i32{shape} = Add(%sum{layer}, 2097152i32)\n\
             %low{layer}: i32{shape} = Max(%rounded{layer}, 0i32)\n\
             %high{layer}: i32{shape} = Min(%low{layer}, 1073741823i32)\n\
             %shifted{layer}: i32{shape} = Div(%high{layer}, 4194304i32)\n\
             %byte{layer}: u8{shape} = Cast(%shifted{layer}) to=u8\n"
        );
        from = format!("byte{layer}");
    }
    text += &format!("out %{from}");
    bench(bencher, kernel, &text, &[1, channels, side, side], REPEATS * channels * side * side);
}

/// Weights of both signs, of all sizes.
fn weights(count: usize) -> Vec<i64> {
    (0..count as i64).map(|index| index * 37 % 255 - 127).collect()
}

fn bench(bencher: Bencher<'_, '_>, kernel: Kernel, text: &str, shape: &[usize], items: usize) {
    let graph = Graph::from_text(text).expect("the text is of the grammar");
    let verified = verify(&graph).expect("every clip comes before its product");
    let options = Options { kernel: Some(kernel), ..Options::default() };
    let engine =
        Engine::with_options(verified, options).expect("only kernels of this processor are asked for");
    let pixels = (0..shape.iter().product::<usize>()).map(|index| (index * 101 % 256) as u8).collect();
    let images = [Tensor::from_vec(shape, pixels).expect("as many pixels as the shape has")];
    bencher.counter(ItemsCount::new(items)).bench_local(|| engine.run(&images));
}
