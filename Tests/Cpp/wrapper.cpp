// SPDX-License-Identifier: Apache-2.0
//
// layerwise.hpp: ownership, exceptions, views, and the same bits as the C functions that it calls.
#include <layerwise.hpp>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

namespace lw = layerwise;

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                       \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (false)

// Ownership.
static_assert(!std::is_copy_constructible_v<lw::optimizer> && !std::is_copy_assignable_v<lw::optimizer>);
static_assert(std::is_nothrow_move_constructible_v<lw::optimizer> && std::is_nothrow_move_assignable_v<lw::optimizer>);
// A view of what may not be written is not one of what may.
static_assert(std::is_convertible_v<std::vector<float> &, lw::span<float>>);
static_assert(std::is_convertible_v<const std::vector<float> &, lw::span<const float>>);
static_assert(!std::is_convertible_v<const std::vector<float> &, lw::span<float>>);
static_assert(!std::is_convertible_v<std::vector<double> &, lw::span<float>>);

template <class Function> static lw_code refused(Function &&function) {
    try {
        function();
    } catch (const lw::error &error) {
        EXPECT(std::strlen(error.what()) > 0);
        EXPECT(std::strncmp(error.name(), "LW_ERROR_", 9) == 0);
        return error.code();
    }
    return LW_OK;
}

template <class Function> static bool is_invalid(Function &&function) {
    try {
        function();
    } catch (const std::invalid_argument &) {
        return true;
    }
    return false;
}

struct network {
    std::vector<float> embed = std::vector<float>(6, 1.0F), embed_gradients = std::vector<float>(6, 0.5F);
    std::array<float, 3> head{1, 2, 3};
    float head_gradients[3] = {0.1F, 0.2F, 0.3F};

    void add_to(lw::optimizer &optimizer) {
        EXPECT(optimizer.add_layer("embed", {{"weight", embed, embed_gradients, {2, 3}}}) == 0);
        EXPECT(optimizer.add_layer("head", {{"weight", head, head_gradients}}, {{"weight_decay", 0}}) == 1);
    }
};

static void test_same_as_c() {
    network by_wrapper, by_c;
    lw::optimizer optimizer("adamw", {{"lr", 0.01}, {"weight_decay", 0.05}});
    by_wrapper.add_to(optimizer);
    optimizer.set_policy({"layer_decay", {{"decay", 0.5}}});
    optimizer.set_schedule("lr", {"warmup", {{"steps", 2}}, {{"cosine", {{"total_steps", 8}}}}});

    lw_error error = LW_ERROR_INIT;
    lw_optimizer *plain = nullptr;
    lw_setting rates[] = {{"lr", 0.01, nullptr}, {"weight_decay", 0.05, nullptr}};
    EXPECT(lw_optimizer_create(&plain, "adamw", rates, 2, &error) == LW_OK);
    const std::int64_t shape[] = {2, 3}, head_shape[] = {3};
    lw_tensor tensor = LW_TENSOR_INIT;
    tensor.name = "weight", tensor.parameters = by_c.embed.data(), tensor.gradients = by_c.embed_gradients.data();
    tensor.shape = shape, tensor.rank = 2;
    EXPECT(lw_optimizer_add_layer(plain, "embed", &tensor, 1, nullptr, 0, nullptr, &error) == LW_OK);
    tensor.parameters = by_c.head.data(), tensor.gradients = by_c.head_gradients;
    tensor.shape = head_shape, tensor.rank = 1;
    lw_setting own = {"weight_decay", 0, nullptr};
    EXPECT(lw_optimizer_add_layer(plain, "head", &tensor, 1, &own, 1, nullptr, &error) == LW_OK);
    lw_setting decay = {"decay", 0.5, nullptr}, steps = {"steps", 2, nullptr}, total = {"total_steps", 8, nullptr};
    lw_spec policy = LW_SPEC_INIT, schedule[2] = {LW_SPEC_INIT, LW_SPEC_INIT};
    policy.name = "layer_decay", policy.settings = &decay, policy.setting_count = 1;
    schedule[0].name = "warmup", schedule[0].settings = &steps, schedule[0].setting_count = 1;
    schedule[0].part_count = 1;
    schedule[1].name = "cosine", schedule[1].settings = &total, schedule[1].setting_count = 1;
    EXPECT(lw_optimizer_set_policy(plain, &policy, 1, &error) == LW_OK);
    EXPECT(lw_optimizer_set_schedule(plain, -1, "lr", schedule, 2, &error) == LW_OK);

    for (int i = 0; i < 5; i++) {
        optimizer.step();
        EXPECT(lw_optimizer_step(plain, nullptr, &error) == LW_OK);
    }
    EXPECT(by_wrapper.embed == by_c.embed && by_wrapper.head == by_c.head && by_c.head[0] < 1);
    EXPECT(lw_optimizer_destroy(plain, &error) == LW_OK);
}

static void test_errors() {
    network model;
    lw::optimizer optimizer("sgd", {{"lr", 0.1}});
    model.add_to(optimizer);
    EXPECT(refused([] { lw::optimizer unknown("sdg"); }) == LW_ERROR_UNKNOWN_NAME);
    EXPECT(refused([&] { optimizer.set({{"lr", -1}}); }) == LW_ERROR_OUT_OF_RANGE);
    EXPECT(refused([&] { optimizer.set({{"nonfinite", "sometimes"}}); }) == LW_ERROR_UNKNOWN_NAME);
    EXPECT(refused([&] { optimizer.find_layer("body"); }) != LW_OK);
    EXPECT(refused([&] { optimizer.load("/nowhere/run.lw"); }) == LW_ERROR_IO);
    EXPECT(optimizer.get("lr") == 0.1 && optimizer.get_choice("nonfinite") == "raise");

    model.head_gradients[1] = std::nanf("");
    try {
        optimizer.step();
        EXPECT(false);
    } catch (const lw::error &error) {
        EXPECT(error.code() == LW_ERROR_NONFINITE && error.layer() == 1 && error.tensor() == 0 && error.element() == 1);
    }
    EXPECT(model.embed[0] == 1 && optimizer.get_summary().steps == 0);

    std::vector<float> few(2);
    EXPECT(is_invalid([&] { optimizer.add_layer("body", {{"weight", few, {}, {3}}}); }));
    EXPECT(is_invalid([&] { optimizer.add_layer("body", {{"weight", few, model.embed_gradients}}); }));
    EXPECT(is_invalid([&] { optimizer.add_layer("body", {{"weight", few, {}, {INT64_MAX, INT64_MAX}}}); }));
    EXPECT(optimizer.layer_count() == 2);
}

static void test_ownership() {
    network model;
    lw::optimizer first("sgd"), second("adam");
    model.add_to(first);
    lw_optimizer *handle = first.handle();
    second = std::move(first);
    EXPECT(second.handle() == handle && second.layer_count() == 2);
    auto owner = std::make_unique<lw::optimizer>(std::move(second));
    EXPECT(second.handle() == nullptr && refused([&] { second.step(); }) == LW_ERROR_INVALID_ARGUMENT);
    owner->step();
    owner.reset();
    EXPECT(lw_optimizer_step(handle, nullptr, nullptr) == LW_ERROR_STALE_HANDLE);
}

static void test_layers_and_state() {
    network model;
    lw::optimizer optimizer("adam", {{"lr", 0.1}, {"telemetry", true}});
    model.add_to(optimizer);
    EXPECT(optimizer.layer_name(optimizer.find_layer("head")) == "head");
    optimizer.set_layer(0, {{"lr", 0.05}, {"tower", "vision"}});
    EXPECT(optimizer.get_layer(0, "lr") == 0.05 && optimizer.get_layer_text(0, "tower") == "vision");
    EXPECT(optimizer.get_layer_choice(0, "frozen") == "plan");
    optimizer.unset_layer(0, "lr");
    optimizer.set_layers(std::vector<std::int64_t>{0, 1}, {{"lr", 0.02}, {"lr", 0.03}});
    EXPECT(optimizer.get_layer(1, "lr") == 0.03);
    optimizer.set_rates(std::array<double, 2>{0.2, std::nan("")});
    EXPECT(optimizer.get_layer(0, "lr") == 0.2 && optimizer.get_layer(1, "lr") == 0.1);
    EXPECT(optimizer.get_rate_groups() == (std::vector<std::int64_t>{0, 1}));
    optimizer.freeze(0);
    optimizer.step();
    EXPECT(model.embed[0] == 1 && model.head[0] < 1);
    optimizer.unfreeze(0);
    optimizer.set_loss(0.5);
    optimizer.expect_step();
    optimizer.prepare();
    optimizer.step();
    EXPECT(optimizer.get_step_counts() == (std::vector<std::int64_t>{1, 2}));
    EXPECT(optimizer.get_telemetry().size() == 2 && optimizer.get_telemetry(1).gradient_norm > 0);
    EXPECT(optimizer.get_layer_info(0).tensor_count == 1);

    std::array<float, 3> moments{};
    optimizer.read_state<float>(1, 0, "exp_avg", moments);
    EXPECT(moments[0] > 0);
    EXPECT(std::memcmp(optimizer.get_state_address(1, 0, "exp_avg"), moments.data(), sizeof moments) == 0);
    moments.fill(0);
    optimizer.write_state<float>(1, 0, "exp_avg", moments);
    EXPECT(*static_cast<float *>(optimizer.get_state_address(1, 0, "exp_avg")) == 0);
    const auto states = optimizer.get_states(1, 0);
    EXPECT(states.size() == 3 && states[1].count == 3);
    optimizer.reset(1);
    EXPECT(optimizer.get_step_counts()[1] == 0);

    std::array<float, 3> elsewhere{5, 5, 5};
    optimizer.bind(1, 0, elsewhere.data(), model.head_gradients);
    optimizer.step({1});
    EXPECT(elsewhere[0] < 5);
}

static void test_steps() {
    network model;
    lw::optimizer optimizer("sgd", {{"lr", 1}, {"clip_global_norm", 1000}});
    model.add_to(optimizer);
    lw::step_options options;
    options.gradient_scale = 2;
    const float ones[6] = {1, 1, 1, 1, 1, 1};
    options.gradients = {ones, nullptr};
    optimizer.step(options);
    EXPECT(model.embed[0] == 0.5F && model.head[0] == 1);

    options = {};
    int calls = 0;
    options.reduce = [&](lw::span<double> sums) {
        calls += 1;
        EXPECT(!sums.empty());
    };
    optimizer.step(options);
    EXPECT(calls > 0);
    options.reduce = [](lw::span<double>) { throw std::range_error("no network"); };
    const auto before = model.embed;
    bool thrown = false;
    try {
        optimizer.step(options);
    } catch (const std::range_error &error) {
        thrown = std::string(error.what()) == "no network";
    }
    EXPECT(thrown && model.embed == before);
}

static void test_time() {
    lw::optimizer optimizer("sgd", {{"lr", 0.1}, {"dry_run", true}});
    optimizer.add_layer("embed", {{"weight", LW_FLOAT32, nullptr, nullptr, {4, 4}}});
    optimizer.add_layer("head", {lw::tensor("weight", LW_BFLOAT16, nullptr, nullptr, {4}).with_master()});
    optimizer.set_schedule("lr", {"multi_step", {{"gamma", 0.5}}, {}, {2, 4}});
    optimizer.set_freeze_plan({"gradual_unfreezing", {{"every", 3}}});
    const auto rates = optimizer.preview(0, 5);
    EXPECT(rates.size() == 10 && rates[0] == 0 && rates[5] == 0.1 && rates[7] == 0.05);
    EXPECT(optimizer.explain().find("embed") != std::string::npos);
    EXPECT(optimizer.explain_json(3).front() == '{');
    optimizer.clear_freeze_plan();
    optimizer.clear_schedule("lr");
    optimizer.seek(7);
    EXPECT(optimizer.preview(-1, 1)[0] == 0.1 && optimizer.get_summary().next_step == 7);

    optimizer.set_schedule("lr", {"reduce_on_plateau", {{"patience", 0}, {"factor", 0.5}}});
    for (int i = 0; i < 3; i++) optimizer.report(1.0);
    const auto state = optimizer.get_schedule_state("lr");
    EXPECT(!state.empty());
    optimizer.set_schedule_state("lr", state);
    EXPECT(optimizer.get_schedule_state("lr") == state);

    const auto values = lw::evaluate({"cosine", {{"total_steps", 10}}}, 1.0, 0, 3, 5);
    EXPECT(values.size() == 3 && values[0] == 1 && values[1] < 1);
}

static void test_mode() {
    network model;
    lw::optimizer optimizer("schedule_free_adamw", {{"lr", 0.1}});
    model.add_to(optimizer);
    optimizer.step();
    optimizer.step();
    optimizer.set_mode(LW_MODE_EVALUATION);
    EXPECT(optimizer.get_mode() == LW_MODE_EVALUATION);
    EXPECT(refused([&] { optimizer.step(); }) == LW_ERROR_INVALID_ARGUMENT);
    optimizer.assume_mode(LW_MODE_TRAINING);
    EXPECT(optimizer.get_mode() == LW_MODE_TRAINING);
}

static void test_checkpoints(const std::string &path) {
    network saved, loaded;
    lw::optimizer optimizer("adam", {{"lr", 0.1}}), other("adam", {{"lr", 0.1}});
    saved.add_to(optimizer);
    loaded.add_to(other);
    optimizer.step();
    other.load_from_memory(optimizer.save_to_memory({{"parameters", true}}));
    EXPECT(loaded.head == saved.head);
    optimizer.step();
    optimizer.save(path, {{"parameters", true}});
    other.load(path);
    EXPECT(other.get_load_report().find("loaded") != std::string::npos);
    optimizer.step();
    other.step();
    EXPECT(loaded.head == saved.head && loaded.embed == saved.embed);
    EXPECT(lw::describe_checkpoint(path).find("embed") != std::string::npos);
}

static void test_snapshots() {
    network model;
    lw::optimizer optimizer("adam", {{"lr", 0.1}}), other("adam", {{"lr", 0.1}});
    model.add_to(optimizer);
    optimizer.step();
    const auto head = model.head;
    auto snapshot = optimizer.snapshot();
    EXPECT(snapshot.size() > 0);
    for (int round = 0; round < 2; round++) {
        optimizer.step();
        EXPECT(model.head != head);
        optimizer.restore(snapshot);
        EXPECT(model.head == head && optimizer.get_summary().steps == 1);
    }
    const auto moved = std::move(snapshot);
    EXPECT(refused([&] { other.restore(moved); }) == LW_ERROR_MISMATCH);
    EXPECT(refused([&] { optimizer.restore(snapshot); }) == LW_ERROR_INVALID_ARGUMENT);
}

static void test_memory_of_the_callers() {
    std::vector<float> weights(6, 1.0F), gradients(6, 0.5F);
    lw::optimizer optimizer("adamw", {{"lr", 0.1}, {"memory", "caller"}});
    optimizer.add_layer("head", {{"weight", weights, gradients}});
    std::vector<unsigned char> memory(static_cast<std::size_t>(optimizer.get_memory_size()));
    try {
        optimizer.set_memory({memory.data(), memory.size() - 1});
        EXPECT(false);
    } catch (const lw::error &error) {
        EXPECT(error.code() == LW_ERROR_BUFFER_TOO_SMALL);
    }
    optimizer.set_memory(memory);
    optimizer.step();
    EXPECT(weights[0] < 1);
    EXPECT(optimizer.get_state_address(0, 0, "exp_avg") > static_cast<void *>(memory.data()));
}

static void test_names() {
    EXPECT(!lw::version().empty() && !lw::instruction_set().empty() && lw::available_threads() >= 1);
    for (const auto &name : lw::rules()) EXPECT(lw::describe_rule(name).find(name) != std::string::npos);
    for (const auto &name : lw::policies()) EXPECT(lw::describe_policy(name).find(name) != std::string::npos);
    for (const auto &name : lw::schedules()) EXPECT(lw::describe_schedule(name).find(name) != std::string::npos);
    for (const auto &name : lw::freeze_plans()) EXPECT(lw::describe_freeze_plan(name).find(name) != std::string::npos);
    EXPECT(lw::match("head.*", "glob", {"head.weight", "body.weight"}) == (std::vector<bool>{true, false}));
    EXPECT(lw::infer_layers({"layers.0.weight", "layers.1.weight"}).front() == '[');
}

int main(int count, char **arguments) {
    EXPECT(count == 2);
#if __cplusplus >= 202002L
    std::vector<float> values(3);
    EXPECT(lw::span<float>(std::span<float>(values)).data() == values.data());
#endif
    test_same_as_c();
    test_errors();
    test_ownership();
    test_layers_and_state();
    test_steps();
    test_time();
    test_mode();
    test_checkpoints(arguments[1]);
    test_snapshots();
    test_memory_of_the_callers();
    test_names();
    std::puts("ok wrapper");
}
