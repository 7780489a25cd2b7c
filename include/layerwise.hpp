// Layerwise for C++17: a header over layerwise.h that owns handles, throws exceptions and takes containers.
//
// SPDX-License-Identifier: Apache-2.0
//
//     #include <layerwise.hpp>
//
//     std::vector<float> weights(1000), gradients(1000);
//     layerwise::optimizer optimizer("adamw", {{"lr", 3e-4}, {"weight_decay", 0.05}});
//     optimizer.set_policy({"layer_decay", {{"decay", 0.75}}});
//     optimizer.set_schedule("lr", {"warmup", {{"steps", 100}}, {{"cosine", {{"total_steps", 900}}}}});
//     optimizer.add_layer("embed", {{"weight", weights, gradients, {10, 100}}});
//     optimizer.step();
//     std::cout << optimizer.explain();
//
// layerwise.h is the manual: what is said there of keys, buffers, threads and errors holds here.  A method is called as the C
// function without "lw_optimizer_".  Every failure throws `layerwise::error`, and a refused call has changed nothing.  Buffers are
// not owned: they must stay where they are while an optimizer knows them, which a std::vector does not when it grows.
//
// Nothing here is compiled into the library, so that its C++ standard library and the program's need not agree.
#ifndef LAYERWISE_HPP
#define LAYERWISE_HPP

#include "layerwise.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace layerwise {

// ---- Errors

/// What a function of the library refused, and why.
class error : public std::runtime_error {
public:
    explicit error(const lw_error &found)
        : std::runtime_error(found.message), code_(static_cast<lw_code>(found.code)), layer_(found.layer),
          tensor_(found.tensor), element_(found.element) {}

    lw_code code() const noexcept { return code_; }
    /// The enumerator's name, such as "LW_ERROR_SHAPE".
    const char *name() const noexcept { return lw_error_name(code_); }
    /// Index of the layer at fault, of the tensor in it and of the element in that, or -1.
    std::int64_t layer() const noexcept { return layer_; }
    std::int64_t tensor() const noexcept { return tensor_; }
    std::int64_t element() const noexcept { return element_; }

private:
    lw_code code_;
    std::int64_t layer_, tensor_, element_;
};

// ---- Views

/// Elements that somebody else owns: a pointer and a count.  Made of anything with data() and size(), of arrays, and of a
/// std::span.
template <class T> class span {
public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;
    using iterator = T *;

    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t N> constexpr span(T (&array)[N]) noexcept : data_(array), size_(N) {}
    template <class Container,
              class = std::enable_if_t<std::is_convertible_v<
                  std::remove_pointer_t<decltype(std::declval<Container &>().data())> (*)[], T (*)[]>>,
              class = decltype(std::declval<Container &>().size())>
    constexpr span(Container &&container) noexcept : data_(container.data()), size_(container.size()) {}

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

// ---- Settings and specifications

/// A number, flag, choice or text by its key.
class setting {
public:
    template <class Number, class = std::enable_if_t<std::is_arithmetic_v<Number>>>
    setting(std::string key, Number number) : key_(std::move(key)), number_(static_cast<double>(number)) {}
    setting(std::string key, std::string choice) : key_(std::move(key)), choice_(std::move(choice)), has_choice_(true) {}
    setting(std::string key, const char *choice) : setting(std::move(key), std::string(choice)) {}

    /// Valid while this object is.
    lw_setting c() const noexcept { return {key_.c_str(), number_, has_choice_ ? choice_.c_str() : nullptr}; }

private:
    std::string key_;
    double number_ = 0;
    std::string choice_;
    bool has_choice_ = false;
};

using settings = std::vector<setting>;

/// A policy, schedule or freezing plan in words: its name, settings, parts and list of numbers.
class spec {
public:
    spec(std::string name, settings given = {}, std::vector<spec> parts = {}, std::vector<double> values = {})
        : name_(std::move(name)), settings_(std::move(given)), parts_(std::move(parts)), values_(std::move(values)) {}

private:
    friend class spec_list;

    std::string name_;
    settings settings_;
    std::vector<spec> parts_;
    std::vector<double> values_;
};

// ---- What the functions below are made of

namespace detail {

    inline void check(std::int32_t code, const lw_error &found) {
        if (code != LW_OK) throw error(found);
    }

    /// Calls a function whose last argument is an lw_error.
    template <class Function, class... Arguments> void call(Function function, Arguments... arguments) {
        lw_error found = LW_ERROR_INIT;
        check(function(arguments..., &found), found);
    }

    /// Calls a function that writes text; `last` are its arguments between `needed` and the error, if any.
    template <class Function> std::string text(Function &&function) {
        std::string result(1024, '\0');
        for (;;) {
            lw_error found = LW_ERROR_INIT;
            std::int64_t needed = 0;
            const auto code = function(&result[0], static_cast<std::int64_t>(result.size()), &needed, &found);
            if (code != LW_ERROR_BUFFER_TOO_SMALL) {
                check(code, found);
                // The final NUL is counted.
                result.resize(needed > 0 ? static_cast<std::size_t>(needed - 1) : 0);
                return result;
            }
            result.resize(static_cast<std::size_t>(needed));
        }
    }

    inline std::vector<lw_setting> c(const settings &given) {
        std::vector<lw_setting> result;
        result.reserve(given.size());
        for (const auto &one : given) result.push_back(one.c());
        return result;
    }

    template <class Container> auto pointer(Container &container) -> decltype(container.data()) {
        return container.empty() ? nullptr : container.data();
    }

    template <class Container> std::int64_t count(const Container &container) {
        return static_cast<std::int64_t>(container.size());
    }

    inline std::vector<const char *> c(const std::vector<std::string> &names) {
        std::vector<const char *> result;
        result.reserve(names.size());
        for (const auto &name : names) result.push_back(name.c_str());
        return result;
    }

    inline std::vector<std::string> names(std::int32_t count, const char *(*name)(std::int32_t)) {
        std::vector<std::string> result;
        for (std::int32_t index = 0; index < count; index++) result.emplace_back(name(index));
        return result;
    }

} // namespace detail

/// The specs as C has them: parts follow their whole.  Valid while the specs are.
class spec_list {
public:
    explicit spec_list(const spec &whole) {
        reserve(whole);
        add(whole);
    }

    const lw_spec *data() const noexcept { return specs_.data(); }
    std::int64_t count() const noexcept { return detail::count(specs_); }

private:
    void reserve(const spec &one) {
        size_ += 1;
        for (const auto &part : one.parts_) reserve(part);
        // So that no list of settings moves when another is added.
        settings_.reserve(size_);
        specs_.reserve(size_);
    }

    void add(const spec &one) {
        settings_.push_back(detail::c(one.settings_));
        lw_spec result = LW_SPEC_INIT;
        result.name = one.name_.c_str();
        result.part_count = static_cast<std::int32_t>(one.parts_.size());
        result.settings = detail::pointer(settings_.back());
        result.setting_count = detail::count(settings_.back());
        result.values = detail::pointer(one.values_);
        result.value_count = detail::count(one.values_);
        specs_.push_back(result);
        for (const auto &part : one.parts_) add(part);
    }

    std::size_t size_ = 0;
    std::vector<std::vector<lw_setting>> settings_;
    std::vector<lw_spec> specs_;
};

// ---- Tensors

template <class T> struct dtype_of;
template <> struct dtype_of<float> : std::integral_constant<lw_dtype, LW_FLOAT32> {};
template <> struct dtype_of<double> : std::integral_constant<lw_dtype, LW_FLOAT64> {};

/// A buffer of parameters, its gradients and its shape, which is one extent if none is given.
class tensor {
public:
    tensor(std::string name, span<float> parameters, span<const float> gradients = {}, std::vector<std::int64_t> shape = {})
        : tensor(std::move(name), parameters, gradients, std::move(shape), LW_FLOAT32) {}
    tensor(std::string name, span<double> parameters, span<const double> gradients = {},
           std::vector<std::int64_t> shape = {})
        : tensor(std::move(name), parameters, gradients, std::move(shape), LW_FLOAT64) {}

    /// Parameters of any type, such as LW_BFLOAT16; a `gradient_dtype` of 0 is the same.
    tensor(std::string name, lw_dtype dtype, void *parameters, const void *gradients, std::vector<std::int64_t> shape,
           std::int32_t gradient_dtype = 0)
        : name_(std::move(name)), shape_(std::move(shape)) {
        tensor_.dtype = dtype;
        tensor_.gradient_dtype = gradient_dtype;
        tensor_.parameters = parameters;
        tensor_.gradients = gradients;
    }

    /// Keeps a float32 master copy of float16 or bfloat16 parameters.
    tensor &with_master() {
        tensor_.master = 1;
        return *this;
    }

    /// Says of what whole this tensor is a part, for steps with `reduce`.
    tensor &part_of(std::vector<std::int64_t> whole_shape) {
        whole_shape_ = std::move(whole_shape);
        return *this;
    }

    /// Valid while this object is.
    lw_tensor c() const {
        lw_tensor result = tensor_;
        result.name = name_.c_str();
        result.shape = detail::pointer(shape_);
        result.rank = static_cast<std::int32_t>(shape_.size());
        if (!whole_shape_.empty() && whole_shape_.size() != shape_.size())
            throw std::invalid_argument("tensor " + name_ + ": the shape of the whole has another rank");
        result.whole_shape = detail::pointer(whole_shape_);
        return result;
    }

private:
    template <class T>
    tensor(std::string name, span<T> parameters, span<const T> gradients, std::vector<std::int64_t> shape, lw_dtype dtype)
        : tensor(std::move(name), dtype, parameters.data(), gradients.data(), std::move(shape)) {
        if (shape_.empty()) shape_.push_back(static_cast<std::int64_t>(parameters.size()));
        // C cannot see the size of a buffer; a container knows it.
        std::size_t elements = 1;
        for (const auto extent : shape_) {
            const auto factor = static_cast<std::size_t>(extent);
            if (extent < 0 || (factor > 0 && elements > std::numeric_limits<std::size_t>::max() / factor))
                throw std::invalid_argument("tensor " + name_ + ": the shape is not possible");
            elements *= factor;
        }
        if (elements != parameters.size())
            throw std::invalid_argument("tensor " + name_ + ": the shape has " + std::to_string(elements) +
                                        " elements, the parameters have " + std::to_string(parameters.size()));
        if (gradients.data() != nullptr && gradients.size() != parameters.size())
            throw std::invalid_argument("tensor " + name_ + ": there are " + std::to_string(parameters.size()) +
                                        " parameters and " + std::to_string(gradients.size()) + " gradients");
    }

    std::string name_;
    std::vector<std::int64_t> shape_, whole_shape_;
    lw_tensor tensor_ = LW_TENSOR_INIT;
};

/// How to take a step; see lw_step.
struct step_options {
    /// This layer only, or -1: all.
    std::int64_t layer = -1;
    /// Every gradient is divided by it.
    double gradient_scale = 1.0;
    /// One address a tensor of the layers that are stepped; none: the bound buffers.
    std::vector<const void *> gradients = {};
    /// Replaces numbers by their sums over all processes.  What it throws is thrown again by the step.
    std::function<void(span<double>)> reduce = {};
};

// ---- Snapshots

/// An optimizer as it was at one moment, made by `optimizer::snapshot`, and destroyed with this object.
class snapshot {
public:
    explicit snapshot(lw_snapshot *handle) noexcept : handle_(handle) {}
    snapshot(snapshot &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    snapshot &operator=(snapshot &&other) noexcept {
        snapshot moved(std::move(other));
        std::swap(handle_, moved.handle_);
        return *this;
    }
    snapshot(const snapshot &) = delete;
    snapshot &operator=(const snapshot &) = delete;
    ~snapshot() { lw_snapshot_destroy(handle_, nullptr); }

    /// For functions of layerwise.h; stays owned by this object.
    lw_snapshot *handle() const noexcept { return handle_; }
    /// The bytes that its copies take.
    std::int64_t size() const {
        std::int64_t bytes = 0;
        detail::call(lw_snapshot_get_size, handle_, &bytes);
        return bytes;
    }

private:
    lw_snapshot *handle_ = nullptr;
};

// ---- The optimizer

/// An optimizer, destroyed with this object.  It can be moved and not copied, and serves one thread at a time.
class optimizer {
public:
    explicit optimizer(const std::string &rule, const settings &given = {}) {
        if (lw_abi_version() != LW_ABI_VERSION)
            throw std::runtime_error("layerwise: the library has ABI version " + std::to_string(lw_abi_version()) +
                                     ", the header " + std::to_string(LW_ABI_VERSION));
        const auto list = detail::c(given);
        detail::call(lw_optimizer_create, &handle_, rule.c_str(), detail::pointer(list), detail::count(list));
    }

    optimizer(optimizer &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    optimizer &operator=(optimizer &&other) noexcept {
        optimizer moved(std::move(other));
        std::swap(handle_, moved.handle_);
        return *this;
    }
    optimizer(const optimizer &) = delete;
    optimizer &operator=(const optimizer &) = delete;
    ~optimizer() { lw_optimizer_destroy(handle_, nullptr); }

    /// For functions of layerwise.h; stays owned by this object.
    lw_optimizer *handle() const noexcept { return handle_; }

    // Settings

    void set(const settings &given) {
        const auto list = detail::c(given);
        detail::call(lw_optimizer_set, handle_, detail::pointer(list), detail::count(list));
    }
    double get(const std::string &key) const {
        double number = 0;
        detail::call(lw_optimizer_get, handle_, key.c_str(), &number);
        return number;
    }
    std::string get_choice(const std::string &key) const {
        const char *choice = nullptr;
        detail::call(lw_optimizer_get_choice, handle_, key.c_str(), &choice);
        return choice;
    }

    // The rate of each layer at each step

    void set_policy(const spec &policy) {
        const spec_list list(policy);
        detail::call(lw_optimizer_set_policy, handle_, list.data(), list.count());
    }
    /// `layer` -1: of all layers without one of their own.
    void set_schedule(const std::string &key, const spec &schedule, std::int64_t layer = -1) {
        const spec_list list(schedule);
        detail::call(lw_optimizer_set_schedule, handle_, layer, key.c_str(), list.data(), list.count());
    }
    void clear_schedule(const std::string &key, std::int64_t layer = -1) {
        detail::call(lw_optimizer_set_schedule, handle_, layer, key.c_str(), static_cast<const lw_spec *>(nullptr),
                     std::int64_t{0});
    }
    void set_freeze_plan(const spec &plan) {
        const spec_list list(plan);
        detail::call(lw_optimizer_set_freeze_plan, handle_, list.data(), list.count());
    }
    void clear_freeze_plan() {
        detail::call(lw_optimizer_set_freeze_plan, handle_, static_cast<const lw_spec *>(nullptr), std::int64_t{0});
    }
    void report(double metric) { detail::call(lw_optimizer_report, handle_, metric); }
    std::vector<double> get_schedule_state(const std::string &key, std::int64_t layer = -1) const {
        std::vector<double> values;
        for (;;) {
            lw_error found = LW_ERROR_INIT;
            std::int64_t needed = 0;
            const auto code = lw_optimizer_get_schedule_state(handle_, layer, key.c_str(), detail::pointer(values),
                                                              detail::count(values), &needed, &found);
            if (code != LW_OK && code != LW_ERROR_BUFFER_TOO_SMALL) throw error(found);
            values.resize(static_cast<std::size_t>(needed));
            if (code == LW_OK) return values;
        }
    }
    void set_schedule_state(const std::string &key, span<const double> values, std::int64_t layer = -1) {
        detail::call(lw_optimizer_set_schedule_state, handle_, layer, key.c_str(), values.data(), detail::count(values));
    }
    void seek(std::int64_t step) { detail::call(lw_optimizer_seek, handle_, step); }
    void set_mode(lw_mode mode) { detail::call(lw_optimizer_set_mode, handle_, static_cast<std::int32_t>(mode)); }
    void assume_mode(lw_mode mode) { detail::call(lw_optimizer_assume_mode, handle_, static_cast<std::int32_t>(mode)); }
    lw_mode get_mode() const {
        std::int32_t mode = 0;
        detail::call(lw_optimizer_get_mode, handle_, &mode);
        return static_cast<lw_mode>(mode);
    }

    // Layers

    /// Returns the layer's index.
    std::int64_t add_layer(const std::string &name, const std::vector<tensor> &tensors, const settings &given = {}) {
        std::vector<lw_tensor> described;
        described.reserve(tensors.size());
        for (const auto &one : tensors) described.push_back(one.c());
        const auto list = detail::c(given);
        std::int64_t layer = -1;
        detail::call(lw_optimizer_add_layer, handle_, name.c_str(), detail::pointer(described), detail::count(described),
                     detail::pointer(list), detail::count(list), &layer);
        return layer;
    }
    std::int64_t layer_count() const {
        std::int64_t count = 0;
        detail::call(lw_optimizer_layer_count, handle_, &count);
        return count;
    }
    std::int64_t find_layer(const std::string &name) const {
        std::int64_t layer = -1;
        detail::call(lw_optimizer_find_layer, handle_, name.c_str(), &layer);
        return layer;
    }
    std::string layer_name(std::int64_t layer) const {
        return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
            return lw_layer_get_name(handle_, layer, text, capacity, needed, found);
        });
    }
    void set_layer(std::int64_t layer, const settings &given) {
        const auto list = detail::c(given);
        detail::call(lw_layer_set, handle_, layer, detail::pointer(list), detail::count(list));
    }
    /// Each setting to the layer at the same place.
    void set_layers(span<const std::int64_t> layers, const settings &given) {
        if (layers.size() != given.size()) throw std::invalid_argument("set_layers: one setting for each layer is needed");
        const auto list = detail::c(given);
        detail::call(lw_optimizer_set_layers, handle_, layers.data(), detail::pointer(list), detail::count(list));
    }
    void set_rates(span<const double> rates) {
        detail::call(lw_optimizer_set_rates, handle_, rates.data(), detail::count(rates));
    }
    void unset_layer(std::int64_t layer, const std::string &key) {
        detail::call(lw_layer_unset, handle_, layer, key.c_str());
    }
    double get_layer(std::int64_t layer, const std::string &key) const {
        double number = 0;
        detail::call(lw_layer_get, handle_, layer, key.c_str(), &number);
        return number;
    }
    std::string get_layer_choice(std::int64_t layer, const std::string &key) const {
        const char *choice = nullptr;
        detail::call(lw_layer_get_choice, handle_, layer, key.c_str(), &choice);
        return choice;
    }
    std::string get_layer_text(std::int64_t layer, const std::string &key) const {
        return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
            return lw_layer_get_text(handle_, layer, key.c_str(), text, capacity, needed, found);
        });
    }
    void freeze(std::int64_t layer) { detail::call(lw_layer_freeze, handle_, layer); }
    void unfreeze(std::int64_t layer) { detail::call(lw_layer_unfreeze, handle_, layer); }
    void reset(std::int64_t layer) { detail::call(lw_layer_reset, handle_, layer); }
    /// The buffers must be of the type and size that the tensor has.
    void bind(std::int64_t layer, std::int64_t tensor, void *parameters, const void *gradients = nullptr) {
        detail::call(lw_tensor_bind, handle_, layer, tensor, parameters, gradients);
    }

    // Steps

    void step() { detail::call(lw_optimizer_step, handle_, static_cast<const lw_step *>(nullptr)); }
    void step(const step_options &options) {
        struct reduction {
            const step_options &options;
            std::exception_ptr thrown;
        } context{options, nullptr};
        lw_step how = LW_STEP_INIT;
        how.layer = options.layer;
        how.gradient_scale = options.gradient_scale;
        how.gradients = detail::pointer(options.gradients);
        how.gradient_count = detail::count(options.gradients);
        if (options.reduce) {
            how.reduce_context = &context;
            // An exception must not pass through the library.
            how.reduce = [](double *sums, std::int64_t count, void *given) -> std::int32_t {
                auto &self = *static_cast<reduction *>(given);
                try {
                    self.options.reduce({sums, static_cast<std::size_t>(count)});
                    return 0;
                } catch (...) {
                    self.thrown = std::current_exception();
                    return 1;
                }
            };
        }
        lw_error found = LW_ERROR_INIT;
        const auto code = lw_optimizer_step(handle_, &how, &found);
        if (context.thrown) std::rethrow_exception(context.thrown);
        detail::check(code, found);
    }
    void set_loss(double loss) { detail::call(lw_optimizer_set_loss, handle_, loss); }
    /// With a `delay` of 0 the call computes; else a thread does, and the result is in force so many steps later.
    void measure_spectra(std::int64_t delay = 0) { detail::call(lw_optimizer_measure_spectra, handle_, delay); }
    void expect_step() { detail::call(lw_optimizer_expect_step, handle_); }

    // Memory of the caller's

    std::int64_t get_memory_size() const {
        std::int64_t size = 0;
        detail::call(lw_optimizer_get_memory_size, handle_, &size);
        return size;
    }
    /// The optimizer uses this memory from now on, which must outlive it.
    void set_memory(span<unsigned char> memory) {
        detail::call(lw_optimizer_set_memory, handle_, memory.data(), detail::count(memory), nullptr);
    }
    void prepare() { detail::call(lw_optimizer_prepare, handle_); }

    // Seeing what happens

    lw_summary get_summary() const {
        lw_summary result = LW_SUMMARY_INIT;
        detail::call(lw_optimizer_get_summary, handle_, &result);
        return result;
    }
    lw_telemetry get_telemetry(std::int64_t layer) const {
        lw_telemetry result = LW_TELEMETRY_INIT;
        detail::call(lw_layer_get_telemetry, handle_, layer, &result);
        return result;
    }
    /// Of all layers.
    std::vector<lw_telemetry> get_telemetry() const {
        const lw_telemetry empty = LW_TELEMETRY_INIT;
        std::vector<lw_telemetry> rows(static_cast<std::size_t>(layer_count()), empty);
        detail::call(lw_optimizer_get_telemetry, handle_, detail::pointer(rows), detail::count(rows));
        return rows;
    }
    lw_spectrum get_spectrum(std::int64_t layer, std::int64_t tensor) const {
        lw_spectrum result = LW_SPECTRUM_INIT;
        detail::call(lw_tensor_get_spectrum, handle_, layer, tensor, &result);
        return result;
    }
    lw_layer_info get_layer_info(std::int64_t layer) const {
        lw_layer_info result = LW_LAYER_INFO_INIT;
        detail::call(lw_layer_get_info, handle_, layer, &result);
        return result;
    }
    /// `step` -1: the next.
    std::string explain(std::int64_t step = -1) const {
        return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
            return lw_optimizer_explain(handle_, step, text, capacity, needed, found);
        });
    }
    std::string explain_json(std::int64_t step = -1) const {
        return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
            return lw_optimizer_explain_json(handle_, step, text, capacity, needed, found);
        });
    }
    /// Rates of the steps first, first + stride ...: result[layer * count + i].
    std::vector<double> preview(std::int64_t first, std::int64_t count, std::int64_t stride = 1) const {
        std::vector<double> rates(static_cast<std::size_t>(layer_count() * (count > 0 ? count : 0)));
        detail::call(lw_optimizer_preview, handle_, first, count, stride, detail::pointer(rates), detail::count(rates));
        return rates;
    }
    /// For each tensor, in order of registration, the number of its set, for a param group of an optimizer elsewhere.
    std::vector<std::int64_t> get_rate_groups() const {
        std::vector<std::int64_t> groups(get_step_counts().size());
        detail::call(lw_optimizer_get_rate_groups, handle_, detail::pointer(groups), detail::count(groups),
                     static_cast<std::int64_t *>(nullptr));
        return groups;
    }

    // State

    std::vector<lw_state_info> get_states(std::int64_t layer, std::int64_t tensor) const {
        std::int64_t count = 0;
        detail::call(lw_tensor_state_count, handle_, layer, tensor, &count);
        const lw_state_info empty = LW_STATE_INFO_INIT;
        std::vector<lw_state_info> result(static_cast<std::size_t>(count), empty);
        for (std::int64_t index = 0; index < count; index++)
            detail::call(lw_tensor_get_state_info, handle_, layer, tensor, index, &result[static_cast<std::size_t>(index)]);
        return result;
    }
    template <class T>
    void read_state(std::int64_t layer, std::int64_t tensor, const std::string &name, span<T> buffer) const {
        detail::call(lw_tensor_read_state, handle_, layer, tensor, name.c_str(), static_cast<void *>(buffer.data()),
                     static_cast<std::int64_t>(buffer.size() * sizeof(T)));
    }
    template <class T>
    void write_state(std::int64_t layer, std::int64_t tensor, const std::string &name, span<const T> buffer) {
        detail::call(lw_tensor_write_state, handle_, layer, tensor, name.c_str(), static_cast<const void *>(buffer.data()),
                     static_cast<std::int64_t>(buffer.size() * sizeof(T)));
    }
    void *get_state_address(std::int64_t layer, std::int64_t tensor, const std::string &name) const {
        void *address = nullptr;
        detail::call(lw_tensor_get_state_address, handle_, layer, tensor, name.c_str(), &address);
        return address;
    }
    /// Of every tensor, in order of registration.
    std::vector<std::int64_t> get_step_counts() const {
        std::int64_t tensors = 0;
        for (std::int64_t layer = 0, count = layer_count(); layer < count; layer++)
            tensors += get_layer_info(layer).tensor_count;
        std::vector<std::int64_t> counts(static_cast<std::size_t>(tensors));
        detail::call(lw_optimizer_get_step_counts, handle_, detail::pointer(counts), detail::count(counts));
        return counts;
    }

    // Checkpoints

    void save(const std::string &path, const settings &options = {}) const {
        const auto list = detail::c(options);
        detail::call(lw_optimizer_save, handle_, path.c_str(), detail::pointer(list), detail::count(list));
    }
    void load(const std::string &path, const settings &options = {}, const std::vector<lw_rename> &renames = {}) {
        const auto list = detail::c(options);
        detail::call(lw_optimizer_load, handle_, path.c_str(), detail::pointer(list), detail::count(list),
                     detail::pointer(renames), detail::count(renames));
    }
    /// Copies everything that the results of later steps depend on.
    layerwise::snapshot snapshot() const {
        lw_snapshot *made = nullptr;
        detail::call(lw_optimizer_snapshot, handle_, &made);
        return layerwise::snapshot(made);
    }
    /// Puts everything back as it was, any number of times.
    void restore(const layerwise::snapshot &from) { detail::call(lw_optimizer_restore, handle_, from.handle()); }
    /// A checkpoint in memory.
    std::vector<std::uint8_t> save_to_memory(const settings &options = {}) const {
        const auto list = detail::c(options);
        std::vector<std::uint8_t> bytes;
        for (;;) {
            lw_error found = LW_ERROR_INIT;
            std::int64_t needed = 0;
            const auto code = lw_optimizer_export(handle_, detail::pointer(bytes), detail::count(bytes), &needed,
                                                  detail::pointer(list), detail::count(list), &found);
            if (code != LW_OK && code != LW_ERROR_BUFFER_TOO_SMALL) throw error(found);
            bytes.resize(static_cast<std::size_t>(needed));
            if (code == LW_OK) return bytes;
        }
    }
    void load_from_memory(span<const std::uint8_t> bytes, const settings &options = {},
                          const std::vector<lw_rename> &renames = {}) {
        const auto list = detail::c(options);
        detail::call(lw_optimizer_import, handle_, static_cast<const void *>(bytes.data()), detail::count(bytes),
                     detail::pointer(list), detail::count(list), detail::pointer(renames), detail::count(renames));
    }
    /// JSON; see lw_optimizer_get_load_report.
    std::string get_load_report() const {
        return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
            return lw_optimizer_get_load_report(handle_, text, capacity, needed, found);
        });
    }

private:
    lw_optimizer *handle_ = nullptr;
};

// ---- Without an optimizer

inline std::string version() { return lw_version(); }
inline std::string instruction_set() { return lw_instruction_set(); }
inline std::int32_t available_threads() { return lw_available_threads(); }

inline std::vector<std::string> rules() { return detail::names(lw_rule_count(), lw_rule_name); }
inline std::vector<std::string> policies() { return detail::names(lw_policy_count(), lw_policy_name); }
inline std::vector<std::string> schedules() { return detail::names(lw_schedule_count(), lw_schedule_name); }
inline std::vector<std::string> freeze_plans() { return detail::names(lw_freeze_plan_count(), lw_freeze_plan_name); }

/// JSON; see lw_rule_describe, and the same for the others.
inline std::string describe_rule(const std::string &name) {
    return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
        return lw_rule_describe(name.c_str(), text, capacity, needed, found);
    });
}
inline std::string describe_policy(const std::string &name) {
    return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
        return lw_policy_describe(name.c_str(), text, capacity, needed, found);
    });
}
inline std::string describe_schedule(const std::string &name) {
    return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
        return lw_schedule_describe(name.c_str(), text, capacity, needed, found);
    });
}
inline std::string describe_freeze_plan(const std::string &name) {
    return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
        return lw_freeze_plan_describe(name.c_str(), text, capacity, needed, found);
    });
}

/// What a schedule makes of the rate `base` of a layer of scale 1 at the steps first, first + stride ...
inline std::vector<double> evaluate(const spec &schedule, double base, std::int64_t first, std::int64_t count,
                                    std::int64_t stride = 1) {
    const spec_list list(schedule);
    std::vector<double> values(static_cast<std::size_t>(count > 0 ? count : 0));
    detail::call(lw_schedule_evaluate, list.data(), list.count(), base, first, count, stride, detail::pointer(values));
    return values;
}

/// The layers of a model from the names of its tensors, as JSON; see lw_infer_layers.
inline std::string infer_layers(const std::vector<std::string> &names) {
    const auto list = detail::c(names);
    return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
        return lw_infer_layers(detail::pointer(list), detail::count(list), text, capacity, needed, found);
    });
}

/// Which names a pattern matches as a whole; `syntax` is "exact", "glob" or "regex".
inline std::vector<bool> match(const std::string &pattern, const std::string &syntax,
                               const std::vector<std::string> &names) {
    const auto list = detail::c(names);
    std::vector<std::uint8_t> matched(names.size());
    detail::call(lw_match_names, pattern.c_str(), syntax.c_str(), detail::pointer(list), detail::count(list),
                 detail::pointer(matched));
    return {matched.begin(), matched.end()};
}

/// What a checkpoint holds, all checksums verified, as JSON; see lw_checkpoint_describe.
inline std::string describe_checkpoint(const std::string &path) {
    return detail::text([&](char *text, std::int64_t capacity, std::int64_t *needed, lw_error *found) {
        return lw_checkpoint_describe(path.c_str(), nullptr, nullptr, text, capacity, needed, found);
    });
}

} // namespace layerwise

#endif
