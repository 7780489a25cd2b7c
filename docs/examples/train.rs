// SPDX-License-Identifier: Apache-2.0
//
// Three layers stepped by Layerwise from Rust, without crates:
//
//     rustc --edition 2021 -O train.rs -L native=/usr/local/lib -l dylib=layerwise && ./train

use std::ffi::{CStr, CString};
use std::mem::size_of;
use std::os::raw::{c_char, c_void};
use std::ptr::{null, null_mut};

/// Text that C keeps for good.
macro_rules! text {
    ($text:literal) => {
        concat!($text, "\0").as_ptr().cast::<c_char>()
    };
}

// From layerwise.h; its comments are the manual.
#[repr(C)]
struct Error {
    struct_size: u32,
    code: i32,
    layer: i64,
    tensor: i64,
    element: i64,
    message: [c_char; 512],
}

#[repr(C)]
struct Setting {
    key: *const c_char,
    number: f64,
    choice: *const c_char,
}

#[repr(C)]
struct Spec {
    struct_size: u32,
    part_count: i32,
    name: *const c_char,
    settings: *const Setting,
    setting_count: i64,
    values: *const f64,
    value_count: i64,
}

#[repr(C)]
struct Tensor {
    struct_size: u32,
    dtype: i32,
    gradient_dtype: i32,
    rank: i32,
    name: *const c_char,
    parameters: *mut c_void,
    gradients: *const c_void,
    shape: *const i64,
    master: i32,
    reserved: i32,
    whole_shape: *const i64,
}

#[repr(C)]
struct Handle {
    _private: [u8; 0],
}

extern "C" {
    fn lw_optimizer_create(
        optimizer: *mut *mut Handle, rule: *const c_char, settings: *const Setting, count: i64, error: *mut Error,
    ) -> i32;
    fn lw_optimizer_destroy(optimizer: *mut Handle, error: *mut Error) -> i32;
    fn lw_optimizer_set_policy(optimizer: *mut Handle, specs: *const Spec, count: i64, error: *mut Error) -> i32;
    fn lw_optimizer_add_layer(
        optimizer: *mut Handle, name: *const c_char, tensors: *const Tensor, tensor_count: i64,
        settings: *const Setting, setting_count: i64, layer: *mut i64, error: *mut Error,
    ) -> i32;
    fn lw_optimizer_step(optimizer: *mut Handle, step: *const c_void, error: *mut Error) -> i32;
    fn lw_optimizer_explain(
        optimizer: *mut Handle, step: i64, text: *mut c_char, size: i64, needed: *mut i64, error: *mut Error,
    ) -> i32;
}

const FLOAT32: i32 = 1;
const ROWS: usize = 8;
const COLUMNS: usize = 4;

/// Calls a function that takes an error last; its message is the error.
fn attempt(call: impl FnOnce(*mut Error) -> i32) -> Result<(), String> {
    let mut error = Error {
        struct_size: size_of::<Error>() as u32, code: 0, layer: -1, tensor: -1, element: -1, message: [0; 512],
    };
    if call(&mut error) == 0 {
        return Ok(());
    }
    Err(unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_string_lossy().into_owned())
}

/// A layer's buffers; the heap keeps them in their place while the optimizer refers to them.
struct Layer {
    weights: Box<[f32]>,
    gradients: Box<[f32]>,
}

/// An optimizer, with the layers that it steps.
struct Optimizer {
    handle: *mut Handle,
    layers: Vec<Layer>,
}

impl Optimizer {
    fn new(rule: *const c_char, settings: &[(*const c_char, f64)]) -> Result<Self, String> {
        let settings: Vec<_> =
            settings.iter().map(|&(key, number)| Setting { key, number, choice: null() }).collect();
        let mut handle = null_mut();
        attempt(|error| unsafe {
            lw_optimizer_create(&mut handle, rule, settings.as_ptr(), settings.len() as i64, error)
        })?;
        Ok(Self { handle, layers: Vec::new() })
    }

    fn set_layer_decay(&mut self, decay: f64) -> Result<(), String> {
        let settings = [Setting { key: text!("decay"), number: decay, choice: null() }];
        let policy = Spec {
            struct_size: size_of::<Spec>() as u32, part_count: 0, name: text!("layer_decay"),
            settings: settings.as_ptr(), setting_count: 1, values: null(), value_count: 0,
        };
        attempt(|error| unsafe { lw_optimizer_set_policy(self.handle, &policy, 1, error) })
    }

    fn add_layer(&mut self, name: &str, weights: Vec<f32>) -> Result<(), String> {
        let name = CString::new(name).map_err(|error| error.to_string())?;
        let gradients = vec![0.0; weights.len()].into_boxed_slice();
        let mut layer = Layer { weights: weights.into_boxed_slice(), gradients };
        let shape = [ROWS as i64, (layer.weights.len() / ROWS) as i64];
        let tensor = Tensor {
            struct_size: size_of::<Tensor>() as u32, dtype: FLOAT32, gradient_dtype: 0, rank: 2,
            name: text!("weight"), parameters: layer.weights.as_mut_ptr().cast(),
            gradients: layer.gradients.as_ptr().cast(), shape: shape.as_ptr(), master: 0, reserved: 0,
            whole_shape: null(),
        };
        attempt(|error| unsafe {
            lw_optimizer_add_layer(self.handle, name.as_ptr(), &tensor, 1, null(), 0, null_mut(), error)
        })?;
        self.layers.push(layer);
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        attempt(|error| unsafe { lw_optimizer_step(self.handle, null(), error) })
    }

    fn explain(&mut self) -> Result<String, String> {
        let mut text = vec![0u8; 4096];
        attempt(|error| unsafe {
            lw_optimizer_explain(self.handle, -1, text.as_mut_ptr().cast(), text.len() as i64, null_mut(), error)
        })?;
        Ok(unsafe { CStr::from_ptr(text.as_ptr().cast()) }.to_string_lossy().into_owned())
    }
}

impl Drop for Optimizer {
    fn drop(&mut self) {
        unsafe { lw_optimizer_destroy(self.handle, null_mut()) };
    }
}

fn main() -> Result<(), String> {
    let mut optimizer = Optimizer::new(text!("lamb"), &[(text!("lr"), 0.1), (text!("weight_decay"), 0.01), (text!("clip_global_norm"), 1.0)])?;
    optimizer.set_layer_decay(0.5)?;
    for (index, name) in ["embed", "body", "head"].into_iter().enumerate() {
        let weights = (0..ROWS * COLUMNS).map(|at| (1 + (at / COLUMNS + 3 * (at % COLUMNS) + index) % 5) as f32);
        optimizer.add_layer(name, weights.collect())?;
    }
    for _ in 0..20 {
        for layer in &mut optimizer.layers {
            for (at, (gradient, weight)) in layer.gradients.iter_mut().zip(&layer.weights).enumerate() {
                *gradient = weight - ((at / COLUMNS) as f32 - (at % COLUMNS) as f32);
            }
        }
        optimizer.step()?;
    }
    print!("{}", optimizer.explain()?);
    for layer in &optimizer.layers {
        for row in layer.weights.chunks(COLUMNS) {
            println!("{}", row.iter().map(|w| format!("{:08x}", w.to_bits())).collect::<Vec<_>>().join(" "));
        }
    }
    Ok(())
}
