//! The binary `onnx2int`: arguments, files, progress and printing.

mod arguments;
mod commands;
mod console;
mod execution;
mod files;
mod images;
mod interrupt;
mod npy;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

// The float kernels of the training loop allocate and free large buffers at every step; the
// system's allocator returns them to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Train(train) => commands::train::run(&train),
        Command::Quantize(quantize) => commands::quantize::run(&quantize),
        Command::Transform(transform) => commands::transform::run(&transform),
        Command::Lower(lower) => commands::lower::run(&lower),
        Command::Evaluate(evaluate) => commands::evaluate::run(&evaluate),
        Command::Predict(predict) => commands::predict::run(&predict),
        Command::Trace(trace) => commands::trace::run(&trace),
        Command::Verify(verify) => commands::verify::run(&verify),
        Command::Inspect(inspect) => commands::inspect::run(&inspect),
        Command::Time(time) => commands::time::run(&time),
        Command::Run(run) => commands::run::run(&run),
        Command::Report(report) => commands::report::run(&report),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if console::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            console::error(&error);
            ExitCode::from(if error.is::<interrupt::Interrupted>() { 130 } else { 1 })
        }
    }
}
