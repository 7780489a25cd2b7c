/* Trains a small network on the iris flowers with a learning rate for every layer.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The network is 4-16-16-3 with tanh between, forward and backward written out by hand.  Its parameters and gradients
 * are plain arrays of this program; Layerwise gets their addresses once and steps them in place.  AdamW with the
 * policy "layer_decay" gives the output layer the full rate, the layer below it 0.6 of that, the first layer 0.36, and
 * the schedule "linear" lowers them all to 0 over the epochs.
 *
 *     cc -std=c99 -O2 train.c $(pkg-config --cflags --libs layerwise) -lm -o train
 *     ./train iris.csv
 */
#include <layerwise.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { FEATURES = 4, HIDDEN = 16, CLASSES = 3, WIDEST = HIDDEN, LAYERS = 3, FLOWERS = 150, EPOCHS = 100 };

typedef struct {
    float features[FLOWERS][FEATURES];
    int species[FLOWERS];
} dataset;

typedef struct {
    const char *name;
    int inputs, outputs;
    float weight[WIDEST * WIDEST], bias[WIDEST];
    float weight_gradient[WIDEST * WIDEST], bias_gradient[WIDEST];
} dense;

/* Flowers whose number is a multiple of five are held out of training and measure the accuracy. */
static int held_out(int flower) { return flower % 5 == 0; }

/* ---- Data ---------------------------------------------------------------------------------------------------- */

/* Reads the file and scales every feature to mean 0 and deviation 1 over the training flowers.  0 if all went well. */
static int read_iris(const char *path, dataset *data)
{
    char names[256];
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(names, sizeof names, file) == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        if (file != NULL) {
            fclose(file);
        }
        return 1;
    }
    for (int i = 0; i < FLOWERS; ++i) {
        float *x = data->features[i];
        if (fscanf(file, "%f,%f,%f,%f,%d", &x[0], &x[1], &x[2], &x[3], &data->species[i]) != FEATURES + 1
            || data->species[i] < 0 || data->species[i] >= CLASSES) {
            fprintf(stderr, "%s: line %d is not four lengths and a species\n", path, i + 2);
            fclose(file);
            return 1;
        }
    }
    fclose(file);

    for (int j = 0; j < FEATURES; ++j) {
        double sum = 0, squares = 0;
        int count = 0;
        for (int i = 0; i < FLOWERS; ++i) {
            if (!held_out(i)) {
                sum += data->features[i][j];
                squares += (double)data->features[i][j] * data->features[i][j];
                ++count;
            }
        }
        double mean = sum / count;
        double deviation = sqrt(squares / count - mean * mean);
        for (int i = 0; i < FLOWERS; ++i) {
            data->features[i][j] = (float)((data->features[i][j] - mean) / deviation);
        }
    }
    return 0;
}

/* ---- Network ------------------------------------------------------------------------------------------------- */

/* A uniform number in [-1, 1) from a fixed sequence, so that every run is the same. */
static float uniform(void)
{
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (float)(state >> 8) / 8388608.0f - 1.0f;
}

static void initialise(dense *layer, const char *name, int inputs, int outputs)
{
    layer->name = name;
    layer->inputs = inputs;
    layer->outputs = outputs;
    float limit = sqrtf(6.0f / (float)(inputs + outputs));
    for (int i = 0; i < inputs * outputs; ++i) {
        layer->weight[i] = limit * uniform();
    }
    for (int i = 0; i < outputs; ++i) {
        layer->bias[i] = 0.0f;
    }
}

/* Runs one flower through the network: activations[0] is its features, activations[LAYERS] the class probabilities. */
static void forward(const dense *layers, float activations[LAYERS + 1][WIDEST])
{
    for (int l = 0; l < LAYERS; ++l) {
        for (int o = 0; o < layers[l].outputs; ++o) {
            float sum = layers[l].bias[o];
            for (int i = 0; i < layers[l].inputs; ++i) {
                sum += layers[l].weight[o * layers[l].inputs + i] * activations[l][i];
            }
            activations[l + 1][o] = l + 1 < LAYERS ? tanhf(sum) : sum;
        }
    }
    float *logits = activations[LAYERS];
    float highest = logits[0], total = 0;
    for (int c = 1; c < CLASSES; ++c) {
        highest = fmaxf(highest, logits[c]);
    }
    for (int c = 0; c < CLASSES; ++c) {
        logits[c] = expf(logits[c] - highest);
        total += logits[c];
    }
    for (int c = 0; c < CLASSES; ++c) {
        logits[c] /= total;
    }
}

/* Adds the gradient of one flower's cross-entropy to the layers' gradients. */
static void backward(dense *layers, float activations[LAYERS + 1][WIDEST], int species)
{
    float delta[WIDEST], below[WIDEST];
    for (int c = 0; c < CLASSES; ++c) {
        delta[c] = activations[LAYERS][c] - (c == species ? 1.0f : 0.0f);
    }
    for (int l = LAYERS - 1; l >= 0; --l) {
        dense *layer = &layers[l];
        for (int i = 0; i < layer->inputs; ++i) {
            float a = activations[l][i];
            float sum = 0;
            for (int o = 0; o < layer->outputs; ++o) {
                layer->weight_gradient[o * layer->inputs + i] += delta[o] * a;
                sum += layer->weight[o * layer->inputs + i] * delta[o];
            }
            below[i] = sum * (1.0f - a * a);
        }
        for (int o = 0; o < layer->outputs; ++o) {
            layer->bias_gradient[o] += delta[o];
        }
        for (int i = 0; i < layer->inputs; ++i) {
            delta[i] = below[i];
        }
    }
}

/* The gradient sums over the training flowers.  Returns how many there were; writes their mean loss and the accuracy on
 * the flowers held out. */
static int gradients(dense *layers, const dataset *data, double *loss, double *accuracy)
{
    int trained = 0, right = 0;
    *loss = 0;
    for (int l = 0; l < LAYERS; ++l) {
        for (int i = 0; i < layers[l].inputs * layers[l].outputs; ++i) {
            layers[l].weight_gradient[i] = 0;
        }
        for (int i = 0; i < layers[l].outputs; ++i) {
            layers[l].bias_gradient[i] = 0;
        }
    }
    for (int n = 0; n < FLOWERS; ++n) {
        float activations[LAYERS + 1][WIDEST];
        for (int j = 0; j < FEATURES; ++j) {
            activations[0][j] = data->features[n][j];
        }
        forward(layers, activations);
        const float *p = activations[LAYERS];
        if (held_out(n)) {
            int best = p[1] > p[0] ? 1 : 0;
            best = p[2] > p[best] ? 2 : best;
            right += best == data->species[n];
        } else {
            *loss -= log(p[data->species[n]] + 1e-12);
            backward(layers, activations, data->species[n]);
            ++trained;
        }
    }
    *loss /= trained;
    *accuracy = (double)right / (FLOWERS - trained);
    return trained;
}

/* ---- Training ------------------------------------------------------------------------------------------------ */

/* Every call of the library goes through here: the first failure is printed and ends the program. */
static void must(int32_t code, const lw_error *error)
{
    if (code != LW_OK) {
        fprintf(stderr, "%s: %s\n", lw_error_name(code), error->message);
        exit(EXIT_FAILURE);
    }
}

static void register_layer(lw_optimizer *optimizer, dense *layer, lw_error *error)
{
    int64_t weight_shape[] = {layer->outputs, layer->inputs};
    int64_t bias_shape[] = {layer->outputs};
    lw_tensor tensors[] = {LW_TENSOR_INIT, LW_TENSOR_INIT};
    tensors[0].name = "weight";
    tensors[0].rank = 2;
    tensors[0].shape = weight_shape;
    tensors[0].parameters = layer->weight;
    tensors[0].gradients = layer->weight_gradient;
    tensors[1].name = "bias";
    tensors[1].rank = 1;
    tensors[1].shape = bias_shape;
    tensors[1].parameters = layer->bias;
    tensors[1].gradients = layer->bias_gradient;
    must(lw_optimizer_add_layer(optimizer, layer->name, tensors, 2, NULL, 0, NULL, error), error);
}

int main(int argc, char **argv)
{
    static dataset data;
    static dense layers[LAYERS];
    if (lw_abi_version() != LW_ABI_VERSION) {
        fprintf(stderr, "the library's ABI is %d, this program's %d\n", (int)lw_abi_version(), LW_ABI_VERSION);
        return EXIT_FAILURE;
    }
    if (read_iris(argc > 1 ? argv[1] : "iris.csv", &data) != 0) {
        return EXIT_FAILURE;
    }
    initialise(&layers[0], "input", FEATURES, HIDDEN);
    initialise(&layers[1], "hidden", HIDDEN, HIDDEN);
    initialise(&layers[2], "output", HIDDEN, CLASSES);

    lw_error error = LW_ERROR_INIT;
    lw_optimizer *optimizer = NULL;
    lw_setting settings[] = {{"lr", 0.02, NULL}, {"weight_decay", 0.01, NULL}, {"telemetry", 1, NULL}};
    lw_setting decay[] = {{"decay", 0.6, NULL}};
    lw_spec policy = LW_SPEC_INIT;
    policy.name = "layer_decay";
    policy.settings = decay;
    policy.setting_count = 1;
    lw_setting epochs[] = {{"total_steps", EPOCHS, NULL}};
    lw_spec schedule = LW_SPEC_INIT;
    schedule.name = "linear";
    schedule.settings = epochs;
    schedule.setting_count = 1;
    must(lw_optimizer_create(&optimizer, "adamw", settings, 3, &error), &error);
    must(lw_optimizer_set_policy(optimizer, &policy, 1, &error), &error);
    /* The base rate falls in a straight line; every layer keeps its share of it. */
    must(lw_optimizer_set_schedule(optimizer, -1, "lr", &schedule, 1, &error), &error);
    for (int l = 0; l < LAYERS; ++l) {
        register_layer(optimizer, &layers[l], &error);
    }

    printf("Layerwise %s (%s), iris: rate and update-to-weight ratio of every layer\n\n", lw_version(),
           lw_instruction_set());
    printf("epoch    loss  accuracy");
    for (int l = 0; l < LAYERS; ++l) {
        printf("  %8s rate    ratio", layers[l].name);
    }
    printf("\n");

    for (int epoch = 1; epoch <= EPOCHS; ++epoch) {
        double loss, accuracy;
        int count = gradients(layers, &data, &loss, &accuracy);

        /* The gradients are sums over the flowers: dividing them by the count makes them means. */
        lw_step step = LW_STEP_INIT;
        step.gradient_scale = count;
        must(lw_optimizer_step(optimizer, &step, &error), &error);

        if (epoch == 1 || epoch % 10 == 0) {
            lw_telemetry rows[LAYERS] = {LW_TELEMETRY_INIT, LW_TELEMETRY_INIT, LW_TELEMETRY_INIT};
            must(lw_optimizer_get_telemetry(optimizer, rows, LAYERS, &error), &error);
            printf("%5d  %6.4f  %8.3f", epoch, loss, accuracy);
            for (int l = 0; l < LAYERS; ++l) {
                printf("  %13.5f  %7.5f", rows[l].effective_lr, rows[l].update_ratio);
            }
            printf("\n");
        }
    }
    must(lw_optimizer_destroy(optimizer, &error), &error);
    return EXIT_SUCCESS;
}
