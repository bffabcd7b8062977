//! The shim alone, as a program: what the runtime's tests start. The product's own is `everynode shim`.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    node::shim::main(&args)
}
