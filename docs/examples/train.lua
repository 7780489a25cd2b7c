-- SPDX-License-Identifier: Apache-2.0
--
-- Two layers stepped by Layerwise from LuaJIT: `luajit train.lua [path of liblayerwise.so]`.
local bit, ffi = require("bit"), require("ffi")

-- From layerwise.h; its comments are the manual.
ffi.cdef [[
typedef struct lw_optimizer lw_optimizer;
typedef struct {
    uint32_t struct_size; int32_t code; int64_t layer, tensor, element; char message[512];
} lw_error;
typedef struct { const char *key; double number; const char *choice; } lw_setting;
typedef struct {
    uint32_t struct_size; int32_t part_count; const char *name; const lw_setting *settings; int64_t setting_count;
    const double *values; int64_t value_count;
} lw_spec;
typedef struct {
    uint32_t struct_size; int32_t dtype, gradient_dtype, rank; const char *name; void *parameters;
    const void *gradients; const int64_t *shape; int32_t master, reserved; const int64_t *whole_shape;
} lw_tensor;
const char *lw_version(void);
int32_t lw_optimizer_create(lw_optimizer **, const char *, const lw_setting *, int64_t, lw_error *);
int32_t lw_optimizer_destroy(lw_optimizer *, lw_error *);
int32_t lw_optimizer_set_policy(lw_optimizer *, const lw_spec *, int64_t, lw_error *);
int32_t lw_optimizer_add_layer(lw_optimizer *, const char *, const lw_tensor *, int64_t, const lw_setting *, int64_t,
                               int64_t *, lw_error *);
int32_t lw_optimizer_step(lw_optimizer *, const void *, lw_error *);
int32_t lw_optimizer_explain(lw_optimizer *, int64_t, char *, int64_t, int64_t *, lw_error *);
]]
local lw = ffi.load(arg[1] or "layerwise")

local failure = ffi.new("lw_error", { struct_size = ffi.sizeof("lw_error") })
local function try(code)
    if code ~= 0 then error(ffi.string(failure.message), 2) end
end

-- Text that C keeps a pointer to must stay alive in Lua: literals do, and so does what `settings` refers to.
local function settings(values)
    local array, count = ffi.new("lw_setting[?]", #values), #values
    for index, value in ipairs(values) do array[index - 1] = { value[1], value[2] } end
    return array, count
end

local handle = ffi.new("lw_optimizer *[1]")
local options, option_count = settings { { "lr", 0.1 }, { "weight_decay", 0.01 }, { "clip_global_norm", 1.0 } }
try(lw.lw_optimizer_create(handle, "lamb", options, option_count, failure))
local optimizer = handle[0]

local decay, decay_count = settings { { "decay", 0.5 } }
local policy = ffi.new("lw_spec", { ffi.sizeof("lw_spec"), 0, "layer_decay", decay, decay_count })
try(lw.lw_optimizer_set_policy(optimizer, policy, 1, failure))

local rows, columns = 8, 4
local shape = ffi.new("int64_t[2]", rows, columns)
local layers = {}
for index, name in ipairs { "embed", "body", "head" } do
    local weights, gradients = ffi.new("float[?]", rows * columns), ffi.new("float[?]", rows * columns)
    for row = 0, rows - 1 do
        for column = 0, columns - 1 do
            weights[columns * row + column] = 1 + (row + 3 * column + index - 1) % 5
        end
    end
    -- The table keeps the buffers alive, which the optimizer refers to.
    layers[index] = { weights = weights, gradients = gradients }
    local tensor = ffi.new("lw_tensor", { ffi.sizeof("lw_tensor"), 1, 0, 2, "weight", weights, gradients, shape })
    try(lw.lw_optimizer_add_layer(optimizer, name, tensor, 1, nil, 0, nil, failure))
end

for _ = 1, 20 do
    for _, layer in ipairs(layers) do
        for row = 0, rows - 1 do
            for column = 0, columns - 1 do
                local at = columns * row + column
                layer.gradients[at] = layer.weights[at] - (row - column)
            end
        end
    end
    try(lw.lw_optimizer_step(optimizer, nil, failure))
end

local text = ffi.new("char[4096]")
try(lw.lw_optimizer_explain(optimizer, -1, text, 4096, nil, failure))
io.write(ffi.string(text))
for _, layer in ipairs(layers) do
    local bits = ffi.cast("uint32_t *", layer.weights)
    for row = 0, rows - 1 do
        local words = {}
        for column = 0, columns - 1 do words[column + 1] = bit.tohex(bits[columns * row + column]) end
        print(table.concat(words, " "))
    end
end
try(lw.lw_optimizer_destroy(optimizer, failure))
