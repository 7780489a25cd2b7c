// SPDX-License-Identifier: Apache-2.0

// Every rule with every option away from its default at least once, and every preset.  Rates are not powers of two, so that
// their rounding counts.

extension RuleCase {
    static func sgd() throws -> [RuleCase] {
        [
            try RuleCase("sgd", ["lr": 0.1]),
            try RuleCase("sgd", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("sgd", ["lr": 0.03, "weight_decay": 0.3, "decoupled_weight_decay": 1]),
        ]
    }

    static func momentum() throws -> [RuleCase] {
        [
            try RuleCase("sgd", ["lr": 0.1, "momentum": 0.9]),
            try RuleCase("sgd", ["lr": 0.03, "momentum": 0.95, "dampening": 0.3, "weight_decay": 0.07]),
            try RuleCase("sgd", ["lr": 0.03, "momentum": 0.85, "dampening": 1]),
            try RuleCase("sgd", ["lr": 0.1, "momentum": 0.9, "nesterov": 1, "weight_decay": 0.07]),
            try RuleCase(
                "sgd",
                ["lr": 0.1, "momentum": 0.9, "nesterov": 1, "weight_decay": 0.3, "decoupled_weight_decay": 1]),
        ]
    }

    static func lars() throws -> [RuleCase] {
        [
            try RuleCase("lars"),
            try RuleCase("lars", ["variant": "paper", "lr": 3.2, "weight_decay": 0.01]),
            try RuleCase("lars", ["variant": "timm", "lr": 0.7, "weight_decay": 0.01]),
            try RuleCase("lars", ["variant": "timm", "lr": 0.7, "weight_decay": 0.01, "trust_clip": 1]),
            try RuleCase("lars", ["variant": "optax", "lr": 0.7, "weight_decay": 0.01]),
            try RuleCase("lars", ["variant": "mae", "lr": 0.7, "weight_decay": 0.01]),
            try RuleCase("lars", ["variant": "pytorch_optimizer", "weight_decay": 0.01]),
            try RuleCase(
                "lars",
                [
                    "lr": 0.7, "momentum": 0.85, "dampening": 0.2, "weight_decay": 0.03, "trust_coefficient": 0.02,
                    "eps": 1e-3, "norm": "decayed", "lr_position": "outside", "adapt": "decayed",
                    "trust_ratio_scope": "layer", "weight_decay_exclude_1d": 1, "dampen_first": 1,
                    "skip_zero_gradient": 1,
                    "trust_clip": 1,
                ]),
            try RuleCase(
                "lars", ["lr": 0.7, "weight_decay": 0.03, "nesterov": 1, "trust_ratio_scope": "layer", "eps": 1e-6]),
            try RuleCase("lars", ["lr": 0.7, "momentum": 0, "weight_decay": 0.03, "norm": "decayed"]),
        ]
    }

    static func adam() throws -> [RuleCase] {
        [
            try RuleCase("adam"),
            try RuleCase("adam", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("adam", ["lr": 0.03, "amsgrad": 1]),
            try RuleCase(
                "adam",
                ["lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.07, "amsgrad": 1]),
            try RuleCase(
                "adam",
                ["lr": 0.03, "beta1": 0.95, "beta2": 0.9999, "weight_decay": 0.07, "decoupled_weight_decay": 1]),
            try RuleCase("adam", ["lr": 0.03, "beta1": 0, "beta2": 0]),
            try RuleCase("adam", ["lr": 0.03, "eps": 1e-3, "eps_before_correction": 1]),
        ]
    }

    static func adamW() throws -> [RuleCase] {
        [
            try RuleCase("adamw"),
            try RuleCase("adamw", ["lr": 0.03, "weight_decay": 0]),
            try RuleCase(
                "adamw",
                ["lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-5, "weight_decay": 0.3, "amsgrad": 1]),
            try RuleCase("adamw", ["lr": 0.03, "eps": 1e-7, "eps_before_correction": 1]),
        ]
    }

    static func lamb() throws -> [RuleCase] {
        [
            try RuleCase("lamb"),
            try RuleCase("lamb", ["variant": "paper", "lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("lamb", ["variant": "timm", "lr": 0.03]),
            try RuleCase("lamb", ["variant": "apex", "lr": 0.03, "grad_averaging": 0]),
            try RuleCase("lamb", ["variant": "optax", "lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("lamb", ["variant": "pytorch_optimizer", "lr": 0.03, "weight_decay": 0.07]),
            try RuleCase(
                "lamb",
                [
                    "lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.07, "decay": "gradient",
                    "adapt": "decayed", "trust_ratio_scope": "layer", "bias_correction": "none", "grad_averaging": 0,
                    "ratio_eps": 1, "ratio_min": 0.2, "ratio_max": 5, "weight_norm_max": 3,
                    "weight_decay_exclude_1d": 1,
                ]),
            try RuleCase(
                "lamb",
                ["lr": 0.03, "weight_decay": 0.3, "decay": "decoupled", "adapt": "matrices", "ratio_max": 1.5]),
            try RuleCase("lamb", ["lr": 0.03, "weight_decay": 0.07, "trust_ratio_scope": "layer"]),
        ]
    }

    static func lion() throws -> [RuleCase] {
        [
            try RuleCase("lion"),
            try RuleCase("lion", ["lr": 0.03, "beta1": 0.7, "beta2": 0.95, "weight_decay": 0.3]),
            try RuleCase("lion", ["lr": 0.03, "beta1": 0, "beta2": 0]),
        ]
    }

    static func nadam() throws -> [RuleCase] {
        [
            try RuleCase("nadam"),
            try RuleCase("nadam", ["lr": 0.03, "weight_decay": 0.07, "momentum_decay": 0.03]),
            try RuleCase(
                "nadam",
                [
                    "lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.3, "momentum_decay": 0,
                    "decoupled_weight_decay": 1,
                ]),
            try RuleCase("nadam", ["lr": 0.03, "variant": "optax", "weight_decay": 0.07]),
            try RuleCase("nadam", ["lr": 0.03, "variant": "keras"]),
            try RuleCase(
                "nadam",
                ["lr": 0.03, "variant": "timm", "weight_decay": 0.3, "decoupled_weight_decay": 1]),
        ]
    }

    static func rmsprop() throws -> [RuleCase] {
        [
            try RuleCase("rmsprop"),
            try RuleCase("rmsprop", ["lr": 0.03, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.07]),
            try RuleCase("rmsprop", ["lr": 0.03, "momentum": 0.9]),
            try RuleCase("rmsprop", ["lr": 0.03, "centered": 1]),
            try RuleCase("rmsprop", ["lr": 0.03, "alpha": 0.95, "weight_decay": 0.07, "momentum": 0.8, "centered": 1]),
            try RuleCase(
                "rmsprop",
                [
                    "lr": 0.03, "momentum": 0.9, "centered": 1, "eps_in_sqrt": 1, "lr_in_momentum": 1,
                    "initial_square_avg": 1,
                ]),
            try RuleCase("rmsprop", ["lr": 0.03, "alpha": 0.9, "eps": 1e-4, "eps_in_sqrt": 1, "lr_in_momentum": 1]),
        ]
    }

    /// The decay is no quotient of two 16-bit numbers of these sizes: where g + λ·w is 0, the sign of its rounding is a whole step.
    static func adagrad() throws -> [RuleCase] {
        [
            try RuleCase("adagrad"),
            try RuleCase("adagrad", ["lr": 0.03, "lr_decay": 0.01, "weight_decay": 0.0701]),
            try RuleCase("adagrad", ["lr": 0.03, "initial_accumulator_value": 0.1, "eps": 1e-3]),
            try RuleCase("adagrad", ["lr": 0.03, "eps": 1e-3, "eps_in_sqrt": 1]),
            try RuleCase("adagrad", ["lr": 0.03, "variant": "optax"]),
        ]
    }

    static func adadelta() throws -> [RuleCase] {
        [
            try RuleCase("adadelta"),
            try RuleCase("adadelta", ["lr": 0.7, "rho": 0.95, "eps": 1e-4, "weight_decay": 0.07]),
        ]
    }

    static func adamax() throws -> [RuleCase] {
        [
            try RuleCase("adamax"),
            try RuleCase("adamax", ["lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.07]),
            try RuleCase("adamax", ["lr": 0.03, "weight_decay": 0.3, "decoupled_weight_decay": 1]),
            try RuleCase("adamax", ["lr": 0.03, "eps": 1e-3, "eps_in_denominator": 1]),
            try RuleCase("adamax", ["lr": 0.03, "variant": "keras"]),
        ]
    }

    static func radam() throws -> [RuleCase] {
        [
            try RuleCase("radam"),
            try RuleCase("radam", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase(
                "radam",
                [
                    "lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.3,
                    "decoupled_weight_decay": 1,
                ]),
        ]
    }

    static func rprop() throws -> [RuleCase] {
        [
            try RuleCase("rprop"),
            try RuleCase(
                "rprop",
                [
                    "lr": 0.03, "eta1": 0.3, "eta2": 1.3, "step_size1": 1e-3, "step_size2": 0.1, "weight_decay": 0.0701,
                ]),
        ]
    }

    static func asgd() throws -> [RuleCase] {
        [
            try RuleCase("asgd"),
            try RuleCase("asgd", ["lr": 0.03, "lambd": 0.03, "alpha": 0.6, "t0": 20, "weight_decay": 0.07]),
            try RuleCase("asgd", ["lr": 0.03, "lambd": 0, "t0": 0]),
        ]
    }

    static func adaBelief() throws -> [RuleCase] {
        [
            try RuleCase("adabelief"),
            try RuleCase("adabelief", ["lr": 0.03, "eps": 1e-8, "weight_decay": 0.07, "decoupled_weight_decay": 0]),
            try RuleCase("adabelief", ["lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.3]),
        ]
    }

    static func yogi() throws -> [RuleCase] {
        [
            try RuleCase("yogi"),
            try RuleCase("yogi", ["lr": 0.03, "eps": 1e-5, "weight_decay": 0.07, "decoupled_weight_decay": 0]),
            try RuleCase(
                "yogi",
                ["lr": 0.03, "beta1": 0.7, "beta2": 0.93, "initial_accumulator": 0.01, "weight_decay": 0.3]),
        ]
    }

    static func adan() throws -> [RuleCase] {
        [
            try RuleCase("adan"),
            try RuleCase(
                "adan",
                ["lr": 0.03, "beta1": 0.9, "beta2": 0.8, "beta3": 0.95, "eps": 1e-3, "weight_decay": 0.3]),
            try RuleCase("adan", ["lr": 0.03, "weight_decay": 0.3, "no_prox": 1]),
            try RuleCase("adan", ["lr": 0.03, "beta2": 0.8, "variant": "optax"]),
            try RuleCase("adan", ["lr": 0.03, "eps": 0, "eps_root": 1e-3, "weight_decay": 0.3]),
        ]
    }

    static func adopt() throws -> [RuleCase] {
        [
            try RuleCase("adopt"),
            try RuleCase("adopt", ["lr": 0.03, "eps": 1e-3, "clip_power": 0.4, "weight_decay": 0.07]),
            try RuleCase(
                "adopt",
                [
                    "lr": 0.03, "beta1": 0.7, "beta2": 0.93, "clip": 0, "weight_decay": 0.3,
                    "decoupled_weight_decay": 1,
                ]),
        ]
    }

    static func adEMAMix() throws -> [RuleCase] {
        [
            try RuleCase("ademamix"),
            try RuleCase(
                "ademamix",
                [
                    "lr": 0.03, "beta1": 0.7, "beta2": 0.93, "beta3": 0.99, "alpha": 3, "t_alpha": 1500,
                    "t_beta3": 1300, "eps": 1e-3, "weight_decay": 0.3,
                ]),
        ]
    }

    static func simplifiedAdEMAMix() throws -> [RuleCase] {
        [
            try RuleCase("simplified_ademamix"),
            try RuleCase(
                "simplified_ademamix",
                ["lr": 0.003, "beta1": 0.9, "beta2": 0.93, "alpha": 3, "eps": 1e-3, "weight_decay": 0.3]),
        ]
    }

    static func laProp() throws -> [RuleCase] {
        [
            try RuleCase("laprop"),
            try RuleCase("laprop", ["lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.3]),
        ]
    }

    static func madgrad() throws -> [RuleCase] {
        [
            try RuleCase("madgrad"),
            try RuleCase("madgrad", ["lr": 0.03, "momentum": 0.7, "eps": 1e-3, "weight_decay": 0.0701]),
            try RuleCase("madgrad", ["lr": 0.03, "weight_decay": 0.3, "decoupled_weight_decay": 1]),
        ]
    }

    static func fromage() throws -> [RuleCase] {
        [
            try RuleCase("fromage"),
            try RuleCase("fromage", ["lr": 0.3, "weight_decay": 0.07]),
            try RuleCase("fromage", ["lr": 0.03, "weight_decay": 0.07, "trust_ratio_scope": "layer"]),
            try RuleCase("fromage", ["lr": 0.03, "min_norm": 0.5]),
        ]
    }

    static func stableAdamW() throws -> [RuleCase] {
        [
            try RuleCase("stable_adamw"),
            try RuleCase(
                "stable_adamw", ["lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.3]),
            try RuleCase("stable_adamw", ["lr": 0.03, "weight_decay": 0.07, "decoupled_weight_decay": 0]),
        ]
    }

    static func mars() throws -> [RuleCase] {
        [
            try RuleCase("mars"),
            try RuleCase(
                "mars",
                [
                    "variant": "paper", "lr": 0.03, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.3, "gamma": 0.07,
                    "optimize_1d": 1,
                ]),
            try RuleCase(
                "mars",
                [
                    "variant": "timm", "lr": 0.03, "weight_decay": 0.3, "lr_1d_factor": 0.7,
                    "beta1_1d": 0.8, "beta2_1d": 0.97, "weight_decay_1d": 0.07, "gamma": 1.5,
                ]),
            try RuleCase("mars", ["variant": "timm", "lr": 0.03]),
            try RuleCase("mars", ["lr": 0.03, "amsgrad": 1, "weight_decay": 0.07]),
            try RuleCase("mars", ["lr": 0.03, "mars_type": "lion", "weight_decay": 0.3, "amsgrad": 1]),
            try RuleCase("mars", ["lr": 0.03, "mars_type": "lion", "beta1": 0.7, "gamma": 0.3, "optimize_1d": 1]),
        ]
    }

    static func novoGrad() throws -> [RuleCase] {
        [
            try RuleCase("novograd"),
            try RuleCase("novograd", ["variant": "paper", "lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("novograd", ["variant": "timm", "lr": 0.03, "weight_decay": 0.07, "grad_averaging": 1]),
            try RuleCase("novograd", ["variant": "optax", "lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("novograd", ["variant": "apex", "lr": 0.03, "weight_decay": 0.3]),
            try RuleCase(
                "novograd",
                [
                    "lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "eps_root": 1e-4, "weight_decay": 0.3,
                    "decoupled_weight_decay": 1, "grad_averaging": 1, "init_zero": 1, "norm_scope": "layer",
                ]),
        ]
    }

    static func lans() throws -> [RuleCase] {
        [
            try RuleCase("lans"),
            try RuleCase("lans", ["variant": "paper", "lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("lans", ["variant": "gluon", "lr": 0.03, "weight_decay": 0.07]),
            try RuleCase(
                "lans",
                [
                    "lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.07, "decay": "gradient",
                    "normalize_grad": 0, "grad_averaging": 0, "bias_correction": 0, "trust_ratio_scope": "layer",
                ]),
            try RuleCase("lans", ["lr": 0.03, "weight_decay": 0.3, "trust_ratio_scope": "layer"]),
        ]
    }

    static func ldog() throws -> [RuleCase] {
        [
            try RuleCase("ldog"),
            try RuleCase("ldog", ["lr": 0.7, "reps_rel": 1e-3, "eps": 1e-4, "weight_decay": 0.07]),
            try RuleCase("ldog", ["lr": 0.7, "init_eta": 0.03, "distance_scope": "layer"]),
        ]
    }

    static func scheduleFreeSGD() throws -> [RuleCase] {
        [
            try RuleCase("schedule_free_sgd"),
            try RuleCase(
                "schedule_free_sgd",
                [
                    "lr": 0.03, "momentum": 0.7, "weight_decay": 0.07, "warmup_steps": 3, "r": 0.5,
                    "weight_lr_power": 1.5,
                ]),
        ]
    }

    static func scheduleFreeRAdam() throws -> [RuleCase] {
        [
            try RuleCase("schedule_free_radam"),
            try RuleCase(
                "schedule_free_radam",
                [
                    "lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-5, "weight_decay": 0.3, "r": 0.5,
                    "weight_lr_power": 1.5, "silent_sgd_phase": 0,
                ]),
        ]
    }

    /// Rules that estimate their rate, with an estimate for each layer (EstimateScopeTests).
    static func byLayer() throws -> [RuleCase] {
        [
            try RuleCase("prodigy", ["estimate_scope": "layer", "weight_decay": 0.1]),
            try RuleCase("prodigy", ["estimate_scope": "layer", "d0": 1e-4, "slice_p": 3, "use_bias_correction": 1]),
            try RuleCase("dowg", ["estimate_scope": "layer"]),
            try RuleCase("dadapt_adam", ["estimate_scope": "layer", "d0": 1e-4, "weight_decay": 0.1]),
            try RuleCase("dadapt_sgd", ["estimate_scope": "layer", "d0": 1e-4]),
        ]
    }

    /// Rules whose sums run over all layers (SumsOverLayersTests).
    static func overLayers() throws -> [RuleCase] {
        [
            try RuleCase("dog"),
            try RuleCase("dog", ["lr": 0.7, "reps_rel": 1e-3, "eps": 1e-4, "weight_decay": 0.07]),
            try RuleCase("dog", ["lr": 0.7, "init_eta": 0.03]),
            try RuleCase("dowg"),
            try RuleCase("dowg", ["lr": 0.7, "init_estim_sq_dist": 1e-3, "eps": 1e-5, "weight_decay": 0.07]),
            try RuleCase("dadapt_adam", ["d0": 1e-4]),
            try RuleCase(
                "dadapt_adam",
                [
                    "lr": 0.7, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.1, "d0": 1e-3,
                    "growth_rate": 1.5, "use_bias_correction": 1, "decoupled_weight_decay": 1,
                ]),
            try RuleCase("dadapt_adam", ["weight_decay": 0.1, "d0": 1e-4]),
            try RuleCase("dadapt_sgd", ["d0": 1e-4]),
            try RuleCase("momo"),
            try RuleCase("momo", ["lr": 0.3, "weight_decay": 0.1, "beta": 0.7, "lb": -1, "bias_correction": 1]),
            try RuleCase("momo", ["lr": 0.3, "weight_decay": 0.1, "use_fstar": 1]),
            try RuleCase("momo_adam"),
            try RuleCase(
                "momo_adam",
                [
                    "lr": 0.3, "beta1": 0.7, "beta2": 0.93, "eps": 1e-3, "weight_decay": 0.1, "lb": -1, "divide": 0,
                ]),
            try RuleCase("momo_adam", ["lr": 0.3, "weight_decay": 0.1, "use_fstar": 1]),
            try RuleCase(
                "dadapt_sgd", ["lr": 0.7, "momentum": 0.8, "weight_decay": 0.1, "d0": 1e-3, "growth_rate": 1.5]),
        ]
    }

    static func tiger() throws -> [RuleCase] {
        [try RuleCase("tiger"), try RuleCase("tiger", ["lr": 0.03, "beta": 0.7, "weight_decay": 0.3])]
    }

    static func signSGD() throws -> [RuleCase] {
        [
            try RuleCase("signsgd"),
            try RuleCase("signsgd", ["lr": 0.03, "momentum": 0.9, "weight_decay": 0.3]),
        ]
    }

    static func scheduleFreeAdamW() throws -> [RuleCase] {
        [
            try RuleCase("schedule_free_adamw"),
            try RuleCase(
                "schedule_free_adamw",
                [
                    "lr": 0.03, "beta1": 0.7, "beta2": 0.93, "eps": 1e-5, "weight_decay": 0.3, "warmup_steps": 3,
                    "r": 0.5, "weight_lr_power": 1.5,
                ]),
        ]
    }

    /// Prodigy's sums run over all layers, so that no layer can be compared with itself alone (ProdigyTests).
    static func prodigy() throws -> [RuleCase] {
        [
            try RuleCase("prodigy"),
            try RuleCase(
                "prodigy",
                [
                    "lr": 0.7, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.1, "d0": 1e-4, "d_coef": 1.3,
                    "growth_rate": 1.5, "use_bias_correction": 1,
                ]),
            try RuleCase(
                "prodigy",
                [
                    "lr": 0.9, "beta3": 0.9, "weight_decay": 0.1, "decoupled_weight_decay": 0, "safeguard_warmup": 1,
                    "layer_scale": "both",
                ]),
            try RuleCase("prodigy", ["weight_decay": 0.1, "slice_p": 3]),
            try RuleCase(
                "prodigy", ["lr": 0.9, "d0": 1e-4, "weight_decay": 0.1, "decoupled_weight_decay": 0, "slice_p": 11]),
        ]
    }

    /// Adafactor's states have other shapes than the parameters (AdafactorTests).
    static func adafactor() throws -> [RuleCase] {
        [
            try RuleCase("adafactor"),
            try RuleCase(
                "adafactor",
                [
                    "lr": 0.3, "beta2_decay": -0.6, "eps1": 1e-4, "eps2": 0.02, "d": 0.7, "weight_decay": 0.1,
                    "scale_parameter": 0, "step_size": "constant",
                ]),
            try RuleCase("adafactor", ["variant": "transformers", "lr": 1]),
            try RuleCase(
                "adafactor",
                [
                    "variant": "transformers", "lr": 0.9, "beta1": 0.8, "weight_decay": 0.1, "step_size": "warmup",
                    "eps1": 1e-3,
                ]),
        ]
    }

    /// CAME has two such averages.
    static func came() throws -> [RuleCase] {
        [
            try RuleCase("came", ["lr": 0.03]),
            try RuleCase(
                "came",
                [
                    "lr": 0.02, "beta1": 0.8, "beta2": 0.97, "beta3": 0.99, "eps1": 1e-6, "eps2": 1e-4,
                    "clip_threshold": 0.6, "weight_decay": 0.1,
                ]),
            try RuleCase("came", ["lr": 0.02, "weight_decay": 0.1, "cautious": "decay"]),
        ]
    }

    /// Adam-mini has one average for the rows of a block.
    static func adamMini() throws -> [RuleCase] {
        [
            try RuleCase("adam_mini", ["lr": 0.02]),
            try RuleCase(
                "adam_mini",
                ["lr": 0.02, "beta1": 0.8, "beta2": 0.95, "eps": 1e-4, "weight_decay": 0.1, "block_rows": 1]),
            try RuleCase("adam_mini", ["lr": 0.02, "weight_decay": 0.1, "block_rows": 3]),
        ]
    }

    /// SM3 has a number for each place along each axis.
    static func sm3() throws -> [RuleCase] {
        [
            try RuleCase("sm3", ["lr": 0.1, "variant": "pytorch_optimizer"]),
            try RuleCase("sm3", ["lr": 0.05, "variant": "optax", "beta": 0.8]),
            try RuleCase("sm3", ["lr": 0.05, "momentum": 0.7, "beta": 0.6, "eps": 1e-4, "weight_decay": 0.1]),
        ]
    }

    /// Rules whose states by rows, columns or axes stand for whole ones.
    static func factored() throws -> [RuleCase] {
        try adafactor() + came() + adamMini() + sm3()
            + [RuleCase("adafactor", ["lr": 0.03, "weight_decay": 0.1, "cautious": "update"])]
    }

    /// Muon's directions depend on whole matrices (MuonTests).
    static func muon() throws -> [RuleCase] {
        [
            try RuleCase("muon", ["lr": 0.02]),
            try RuleCase(
                "muon",
                [
                    "lr": 0.03, "weight_decay": 0.3, "momentum": 0.8, "nesterov": 0, "ns_coefficients1": 3,
                    "ns_coefficients2": -3.2, "ns_coefficients3": 1.2, "eps": 1e-3, "ns_steps": 3,
                    "adjust_lr_fn": "match_rms_adamw", "adamw_lr_scale": 0.5, "adamw_beta1": 0.8, "adamw_beta2": 0.9,
                    "adamw_eps": 1e-6,
                ]),
            try RuleCase(
                "muon", ["lr": 0.02, "ns_schedule": "quintic", "axes": "last", "adjust_lr_fn": "spectral"]),
            try RuleCase(
                "muon",
                [
                    "lr": 0.02, "weight_decay": 0, "ns_schedule": "polar_express", "ns_steps": 8, "axes": "last",
                    "adjust_lr_fn": "none",
                ]),
            try RuleCase("muon", ["lr": 0.02, "ns_precision": "bfloat16"]),
        ]
    }

    /// Every rule whose layers do not depend on each other.
    static func all() throws -> [RuleCase] {
        let first = try sgd() + momentum() + lars() + adam() + adamW() + lamb() + lion() + nadam() + rmsprop()
        let second = try adagrad() + adadelta() + adamax() + radam() + rprop() + asgd() + adaBelief() + yogi() + adan()
        let third = try adopt() + adEMAMix() + simplifiedAdEMAMix() + laProp() + madgrad() + tiger() + signSGD()
        let fourth = try fromage() + stableAdamW() + mars() + novoGrad() + lans() + ldog()
        let fifth = try scheduleFreeAdamW() + scheduleFreeSGD() + scheduleFreeRAdam()
        return first + second + third + fourth + fifth
    }

    /// One of each arithmetic.
    static func representatives() throws -> [RuleCase] {
        [
            try RuleCase("sgd", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("sgd", ["lr": 0.03, "momentum": 0.9, "nesterov": 1, "weight_decay": 0.07]),
            try RuleCase("lars", ["lr": 0.7, "momentum": 0, "weight_decay": 0.03]),
            try RuleCase("lars", ["lr": 0.7, "weight_decay": 0.03, "norm": "decayed", "nesterov": 1]),
            try RuleCase("adam", ["lr": 0.03, "weight_decay": 0.07, "amsgrad": 1]),
            try RuleCase("adamw", ["lr": 0.03]),
            try RuleCase("lamb", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase(
                "lamb", ["lr": 0.03, "weight_decay": 0.07, "trust_ratio_scope": "layer", "decay": "decoupled"]),
            try RuleCase("lion", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("nadam", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("rmsprop", ["lr": 0.03, "weight_decay": 0.07, "momentum": 0.9, "centered": 1]),
            try RuleCase("adagrad", ["lr": 0.03, "weight_decay": 0.07, "initial_accumulator_value": 0.01]),
            try RuleCase("adadelta", ["lr": 0.7, "weight_decay": 0.07]),
            try RuleCase("adamax", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("radam", ["lr": 0.03, "beta2": 0.9, "weight_decay": 0.07]),
            try RuleCase("rprop", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("asgd", ["lr": 0.03, "weight_decay": 0.07, "t0": 0]),
            try RuleCase("adabelief", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("yogi", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("adan", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("adopt", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("ademamix", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("simplified_ademamix", ["lr": 0.003, "alpha": 3, "weight_decay": 0.07]),
            try RuleCase("laprop", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("madgrad", ["lr": 0.03, "weight_decay": 0.0701]),
            try RuleCase("fromage", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("stable_adamw", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("mars", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("mars", ["lr": 0.03, "weight_decay": 0.07, "amsgrad": 1, "optimize_1d": 1]),
            try RuleCase("mars", ["lr": 0.03, "weight_decay": 0.07, "mars_type": "lion"]),
            try RuleCase("novograd", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("lans", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("ldog", ["lr": 0.7, "reps_rel": 1e-3, "weight_decay": 0.07]),
            try RuleCase("schedule_free_sgd", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("schedule_free_radam", ["lr": 0.03, "beta2": 0.9, "weight_decay": 0.07]),
            try RuleCase("tiger", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("signsgd", ["lr": 0.03, "weight_decay": 0.07]),
            try RuleCase("schedule_free_adamw", ["lr": 0.03, "weight_decay": 0.07]),
        ]
    }
}
