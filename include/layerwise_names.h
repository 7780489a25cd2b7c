/* Layerwise: every rule, policy, schedule, freezing plan, key and choice by name.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Written by `make names` from the declarations that the library itself checks settings against.  A misspelt macro is an error
 * of the compiler; a misspelt string is refused when the program runs.
 *
 * A macro that stands for another is a name of a former version, whose string is still read too.
 *
 * A table's second column is the field of lw_setting that a key wants: "number", "flag" (`number`, 0 or 1), or "choice" and
 * "text" (`choice`).  A key without a default must be given where its doc does not say otherwise.
 */
#ifndef LAYERWISE_NAMES_H
#define LAYERWISE_NAMES_H

/* ---- Rules --------------------------------------------------------------------------------------------------------- */

/** SGD: d = g + λw; b ← μb + (1−τ)d; w ← w − γ·b
 *  Source: Sutskever et al. 2013; equals torch.optim.SGD.
 *  States: momentum_buffer, as far as the settings need them; with the defaults 0 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      momentum                number  default 0; [0, inf); momentum factor μ; 0 keeps no velocity, from 1 on it
 *                                        grows without bound
 *      dampening               number  default 0; [0, 1]; share τ of the gradient that is left out of the velocity
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      nesterov                flag    default 0; Nesterov momentum, which looks ahead along the velocity; needs
 *                                        momentum > 0 and dampening 0
 *      decoupled_weight_decay  flag    default 0; decay the weights in place of the gradient
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_SGD "sgd"

/** LARS: r = η‖w‖/(‖g‖ + λ‖w‖ + ε); b ← μb + γr(g + λw); w ← w − b
 *  Source: You, Gitman, Ginsburg 2017, algorithm 1, arXiv:1708.03888.
 *  States: momentum_buffer, as far as the settings need them; with the defaults 4 bytes for each float32 parameter.
 *
 *      lr                      number  default 1; [0, inf); learning rate γ
 *      momentum                number  default 0.9; [0, 1); momentum factor μ; 0 keeps no velocity
 *      dampening               number  default 0; [0, 1]; share τ of the gradient that is left out of the velocity
 *      dampen_first            flag    default 0; damp a tensor's first step too, as in pytorch_optimizer
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      nesterov                flag    default 0; Nesterov momentum, which looks ahead along the velocity; needs
 *                                        momentum > 0 and dampening 0
 *      trust_coefficient       number  default 0.001; (0, inf); factor η of the ratio
 *      eps                     number  default 0; [0, inf); number ε that is added to the denominator of the ratio
 *      norm                    choice  default separate; "separate", "decayed"; denominator: "separate" is ‖g‖ + λ‖w‖
 *                                        + ε (the paper), "decayed" is ‖g + λw‖ + ε
 *      lr_position             choice  default inside; "inside", "outside"; "inside" keeps γr in the velocity (the
 *                                        paper), "outside" applies γ to the velocity
 *      adapt                   choice  default all; "all", "decayed", "matrices"; which tensors get a ratio: "all",
 *                                        "decayed" (those with decay, as in timm) or "matrices" (of rank 2 and more)
 *      trust_ratio_scope       choice  default tensor; "tensor", "layer"; one ratio for each "tensor", or for each
 *                                        "layer"
 *      trust_clip              flag    default 0; limit the ratio to min(r/γ, 1), as in timm
 *      skip_zero_gradient      flag    default 0; with separate norms, the ratio is 1 where ‖g‖ is 0, also if there
 *                                        is decay, as in timm
 *      weight_decay_exclude_1d flag    default 0; no decay for tensors of rank 0 and 1
 *
 *  Presets, by the key "variant": paper, timm, optax, mae, pytorch_optimizer. */
#define LW_RULE_LARS "lars"

/** Adam: m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − γ·m̂/(√v̂ + ε)
 *  Source: Kingma and Ba 2015, algorithm 1, arXiv:1412.6980; AMSGrad: arXiv:1904.09237; equals torch.optim.Adam.
 *  States: exp_avg, exp_avg_sq, max_exp_avg_sq, as far as the settings need them; with the defaults 8 bytes for each
 *  float32 parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      amsgrad                 flag    default 0; divide by the largest second moment so far
 *      decoupled_weight_decay  flag    default 0; decay the weights in place of the gradient, as AdamW does
 *      eps_before_correction   flag    default 0; add ε to √v before that is corrected for its start, as Keras and
 *                                        TensorFlow do
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_ADAM "adam"

/** AdamW: m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − γ·(m̂/(√v̂ + ε) + λw)
 *  Source: Loshchilov and Hutter 2019, algorithm 2, arXiv:1711.05101; equals torch.optim.AdamW.
 *  States: exp_avg, exp_avg_sq, max_exp_avg_sq, as far as the settings need them; with the defaults 8 bytes for each
 *  float32 parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0.01; [0, inf); decay coefficient λ
 *      amsgrad                 flag    default 0; divide by the largest second moment so far
 *      eps_before_correction   flag    default 0; add ε to √v before that is corrected for its start, as Keras and
 *                                        TensorFlow do
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_ADAMW "adamw"

/** LAMB: u = m̂/(√v̂ + ε) + λw; w ← w − γ·(‖w‖/‖u‖)·u
 *  Source: You et al. 2020, algorithm 2, arXiv:1904.00962.
 *  States: exp_avg, exp_avg_sq, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-06; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      decay                   choice  default update; "update", "decoupled", "gradient"; where the decay goes:
 *                                        "update" is inside u (the paper), "decoupled" is w ← w − γλw before the norm
 *                                        is taken, "gradient" is g + λw
 *      adapt                   choice  default all; "all", "decayed", "matrices"; which tensors get a ratio: "all",
 *                                        "decayed" (those with decay, as in timm) or "matrices" (of rank 2 and more)
 *      trust_ratio_scope       choice  default tensor; "tensor", "layer"; one ratio for each "tensor", or for each
 *                                        "layer"
 *      bias_correction         choice  default moments; "moments", "none", "step_size"; "moments" corrects both;
 *                                        "none"; "step_size" corrects m only, on the step after the ratio
 *                                        (pytorch_optimizer)
 *      grad_averaging          flag    default 1; weigh the gradient by 1 − β₁ in the first moment
 *      ratio_eps               flag    default 0; add ε to ‖u‖ in the ratio
 *      ratio_min               number  default 0; [0, inf); lower limit of the ratio
 *      ratio_max               number  default infinity; (0, inf]; upper limit of the ratio
 *      weight_norm_max         number  default infinity; (0, inf]; upper limit of ‖w‖ in the ratio
 *      weight_decay_exclude_1d flag    default 0; no decay for tensors of rank 0 and 1
 *
 *  Presets, by the key "variant": paper, timm, apex, optax, pytorch_optimizer. */
#define LW_RULE_LAMB "lamb"

/** Lion: w ← w − γ·(sign(β₁m + (1−β₁)g) + λw); m ← β₂m + (1−β₂)g
 *  Source: Chen et al. 2023, algorithm 2, arXiv:2302.06675; equals timm and optax.
 *  States: exp_avg, as far as the settings need them; with the defaults 4 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.0001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); share β₁ of the momentum in the direction
 *      beta2                   number  default 0.99; [0, 1); decay β₂ of the momentum that is kept
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_LION "lion"

/** NAdam: m̂ = μₜ₊₁m/(1 − Πμₜ₊₁) + (1−μₜ)g/(1 − Π); w ← w − γ·m̂/(√v̂ + ε)
 *  Source: Dozat 2016; equals torch.optim.NAdam.
 *  States: exp_avg, exp_avg_sq, mu_product, as far as the settings need them; with the defaults 8 bytes for each
 *  float32 parameter.
 *
 *      lr                      number  default 0.002; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      momentum_decay          number  default 0.004; [0, inf); decay ψ of the momentum's schedule
 *      momentum_schedule       choice  default rising; "rising", "constant", "constant_present"; the momentum's
 *                                        coefficient: "rising" with momentum_decay as in torch, "constant" β₁ as in
 *                                        optax, "constant_present" β₁ with this step's correction as in timm
 *      decoupled_weight_decay  flag    default 0; decay the weights in place of the gradient, as AdamW does
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by
 *
 *  Presets, by the key "variant": optax, timm, keras. */
#define LW_RULE_NADAM "nadam"

/** RMSprop: s ← αs + (1−α)g²; b ← μb + g/(√s + ε); w ← w − γ·b
 *  Source: Hinton 2012, lecture 6e; centered: Graves 2013, arXiv:1308.0850; equals torch.optim.RMSprop.
 *  States: square_avg, momentum_buffer, grad_avg, as far as the settings need them; with the defaults 4 bytes for
 *  each float32 parameter.
 *
 *      lr                      number  default 0.01; [0, inf); learning rate γ
 *      alpha                   number  default 0.99; [0, 1); decay α of the mean square
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      momentum                number  default 0; [0, inf); momentum factor μ; 0 keeps no velocity, from 1 on it
 *                                        grows without bound
 *      centered                flag    default 0; divide by the standard deviation in place of the root mean square
 *      eps_in_sqrt             flag    default 0; add ε under the root
 *      lr_in_momentum          flag    default 0; multiply by the rate before the momentum, not after it
 *      initial_square_avg      number  default 0; [0, inf); what the mean square starts at
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_RMSPROP "rmsprop"

/** Adagrad: s ← s + g²; w ← w − γ/(1 + (t−1)η)·g/(√s + ε)
 *  Source: Duchi, Hazan and Singer 2011, figure 1; equals torch.optim.Adagrad.
 *  States: sum, as far as the settings need them; with the defaults 4 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.01; [0, inf); learning rate γ
 *      lr_decay                number  default 0; [0, inf); decay η of the rate: it is divided by 1 + (t − 1)·η
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      initial_accumulator_valuenumber  default 0; [0, inf); what the sum of squares starts at
 *      eps                     number  default 1e-10; [0, inf); number ε that is added to the denominator
 *      eps_in_sqrt             flag    default 0; add ε inside the root, as optax and Keras do
 *
 *  Presets, by the key "variant": optax, keras. */
#define LW_RULE_ADAGRAD "adagrad"

/** Adadelta: s ← ρs + (1−ρ)g²; d = √(a + ε)/√(s + ε)·g; a ← ρa + (1−ρ)d²; w ← w − γ·d
 *  Source: Zeiler 2012, algorithm 1, arXiv:1212.5701; equals torch.optim.Adadelta.
 *  States: square_avg, acc_delta, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 1; [0, inf); learning rate γ
 *      rho                     number  default 0.9; [0, 1); decay ρ of both mean squares
 *      eps                     number  default 1e-06; [0, inf); number ε that is added under both roots
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ */
#define LW_RULE_ADADELTA "adadelta"

/** Adamax: m ← β₁m + (1−β₁)g; u ← max(β₂u, |g| + ε); w ← w − γ/(1−β₁ᵗ)·m/u
 *  Source: Kingma and Ba 2015, algorithm 2, arXiv:1412.6980; equals torch.optim.Adamax.
 *  States: exp_avg, exp_inf, as far as the settings need them; with the defaults 8 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.002; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the largest gradient
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the size of the gradient
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      decoupled_weight_decay  flag    default 0; decay the weights in place of the gradient, as AdamW does
 *      eps_in_denominator      flag    default 0; add ε to the denominator, and not to the size of the gradient, as
 *                                        Keras does
 *
 *  Presets, by the key "variant": keras. */
#define LW_RULE_ADAMAX "adamax"

/** RAdam: ρ > 5: w ← w − γ·r·m̂·√(1−β₂ᵗ)/(√v + ε); else w ← w − γ·m̂
 *  Source: Liu et al. 2020, algorithm 2, arXiv:1908.03265; equals torch.optim.RAdam.
 *  States: exp_avg, exp_avg_sq, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      decoupled_weight_decay  flag    default 0; decay the weights in place of the gradient, as AdamW does
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_RADAM "radam"

/** Rprop: η ← clamp(η·(η⁺ or η⁻)); w ← w − η·sign(g)
 *  Source: Riedmiller and Braun 1993; equals torch.optim.Rprop.
 *  States: prev, step_size, as far as the settings need them; with the defaults 8 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.01; [0, inf); first step size of every weight
 *      eta1                    number  default 0.5; (0, 1); factor η⁻ of the step size where the sign changes
 *      eta2                    number  default 1.2; [1, inf); factor η⁺ of the step size where the sign stays
 *      step_size1              number  default 1e-06; [0, inf); smallest step size
 *      step_size2              number  default 50; (0, inf); largest step size
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ */
#define LW_RULE_RPROP "rprop"

/** ASGD: η = γ/(1 + λγ(t−1))^α; w ← w − η·(λw + g); a ← a + (w − a)/max(1, t−1−t₀)
 *  Source: Polyak and Juditsky 1992; Bottou 2010; equals torch.optim.ASGD.
 *  States: ax, eta, mu, as far as the settings need them; with the defaults 4 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.01; [0, inf); learning rate γ
 *      lambd                   number  default 0.0001; [0, inf); decay λ of the weights, and of the rate
 *      alpha                   number  default 0.75; [0, inf); power α of the rate's decay
 *      t0                      number  default 1e+06; [0, inf); step t₀ at which the average begins
 *      weight_decay            number  default 0; [0, inf); decay coefficient that is added to the gradient */
#define LW_RULE_ASGD "asgd"

/** AdaBelief: s ← β₂s + (1−β₂)(g − m)² + ε; w ← w − γ·m̂/(√ŝ + ε)
 *  Source: Zhuang et al. 2020, algorithm 2, arXiv:2010.07468; equals pytorch_optimizer.AdaBelief.
 *  States: exp_avg, exp_avg_var, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the squared surprise
 *      eps                     number  default 1e-16; [0, inf); number ε that is added to s at every step, and to the
 *                                        denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      decoupled_weight_decay  flag    default 1; decay the weights in place of the gradient
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_ADABELIEF "adabelief"

/** Yogi: v ← v − (1−β₂)·sign(v − g²)·g²; w ← w − γ·m̂/(√v̂ + ε)
 *  Source: Zaheer et al. 2018, algorithm 2; equals optax and pytorch_optimizer.Yogi.
 *  States: exp_avg, exp_avg_sq, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.01; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 0.001; [0, inf); number ε that is added to the denominator
 *      initial_accumulator     number  default 1e-06; [0, inf); what both moments start at
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      decoupled_weight_decay  flag    default 1; decay the weights in place of the gradient
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_YOGI "yogi"

/** Adan: u = (m̂ + β₂ê)/(√n̂ + ε); w ← (w − γ·u)/(1 + γλ)
 *  Source: Xie et al. 2022, algorithm 1, arXiv:2208.06677; equals pytorch_optimizer.Adan.
 *  States: exp_avg, exp_avg_diff, exp_avg_sq, previous_grad, as far as the settings need them; with the defaults 16
 *  bytes for each float32 parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.98; [0, 1); decay β₁ of the mean gradient
 *      beta2                   number  default 0.92; [0, 1); decay β₂ of the mean difference
 *      beta3                   number  default 0.99; [0, 1); decay β₃ of the mean square
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      no_prox                 flag    default 0; decay the weights before the step, as AdamW does
 *      eps_root                number  default 0; [0, inf); number ε′ that is added under the root, as in optax
 *      difference_weight       choice  default decay; "decay", "share"; what the differences are multiplied by in the
 *                                        step: "decay" β₂ as the authors do, "share" 1 − β₂ as optax does
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by
 *
 *  Presets, by the key "variant": optax. */
#define LW_RULE_ADAN "adan"

/** ADOPT: u = clamp(g/max(√v, ε), ±(t−1)^p); m ← β₁m + (1−β₁)u; w ← w − γ·m; v ← β₂v + (1−β₂)g²
 *  Source: Taniguchi et al. 2024, algorithm 2, arXiv:2411.02853; equals optax.contrib.adopt.
 *  States: exp_avg, exp_avg_sq, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.9999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-06; [0, inf); least denominator ε
 *      clip                    flag    default 1; bound each quotient
 *      clip_power              number  default 0.25; [0, inf); power p of t − 1 in the bound
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      decoupled_weight_decay  flag    default 0; decay the weights in place of the gradient, as AdamW does
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_ADOPT "adopt"

/** AdEMAMix: m₂ ← β₃m₂ + (1−β₃)g; w ← w − γ·((m̂ + αm₂)/(√v̂ + ε) + λw)
 *  Source: Pagliardini et al. 2024, algorithm 1, arXiv:2409.03137; equals pytorch_optimizer.AdEMAMix.
 *  States: exp_avg, exp_avg_sq, exp_avg_slow, as far as the settings need them; with the defaults 12 bytes for each
 *  float32 parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the fast first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      beta3                   number  default 0.9999; [0, 1); decay β₃ of the slow first moment
 *      alpha                   number  default 5; [0, inf); weight α of the slow first moment
 *      t_alpha                 number  default 0; [0, 2^53]; steps over which α grows to its value; 0 is none
 *      t_beta3                 number  default 0; [0, 2^53]; steps over which β₃ grows from β₁ to its value; 0 is
 *                                        none
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0.01; [0, inf); decay coefficient λ
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_ADEMAMIX "ademamix"

/** SimplifiedAdEMAMix: m ← β₁m + g; v ← β₂v + (1−β₂)g²; w ← w − γ·((m + αg)/(√v̂ + ε) + λw)
 *  Source: Morwani et al. 2025, arXiv:2502.02431; equals optax.contrib.simplified_ademamix.
 *  States: exp_avg, exp_avg_sq, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.0001; [0, inf); learning rate γ
 *      beta1                   number  default 0.99; [0, 1); decay β₁ of the sum
 *      beta2                   number  default 0.95; [0, 1); decay β₂ of the second moment
 *      alpha                   number  default 0; [0, inf); weight α of the gradient beside the sum
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ */
#define LW_RULE_SIMPLIFIED_ADEMAMIX "simplified_ademamix"

/** LaProp: m ← β₁m + (1−β₁)γ·g/(√v̂ + ε); a ← β₁a + (1−β₁)γ; w ← (1−γλ)(w − m·γ/a)
 *  Source: Ziyin, Wang and Ueda 2020, algorithm 1, arXiv:2002.04839; equals timm's LaProp.
 *  States: exp_avg, exp_avg_sq, exp_avg_lr_1, as far as the settings need them; with the defaults 8 bytes for each
 *  float32 parameter.
 *
 *      lr                      number  default 0.0004; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the mean quotient
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-15; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_LAPROP "laprop"

/** MADGRAD: q ← q + γ√t·g²; s ← s + γ√t·g; w ← μw + (1−μ)(x₀ − s/(∛q + ε))
 *  Source: Defazio and Jelassi 2022, algorithm 1, arXiv:2101.11075; equals the authors' package and
 *  pytorch_optimizer.MADGRAD.
 *  States: grad_sum_sq, s, x0, as far as the settings need them; with the defaults 12 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.01; [0, inf); learning rate γ
 *      momentum                number  default 0.9; [0, 1); momentum factor μ
 *      eps                     number  default 1e-06; [0, inf); number ε that is added to the rate and to the
 *                                        denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      decoupled_weight_decay  flag    default 0; decay the weights in place of the gradient, as AdamW does */
#define LW_RULE_MADGRAD "madgrad"

/** Tiger: m ← βm + (1−β)g; w ← w − γ·(sign(m) + λw)
 *  Source: Su 2023, github.com/bojone/tiger; equals pytorch_optimizer.Tiger.
 *  States: exp_avg, as far as the settings need them; with the defaults 4 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta                    number  default 0.965; [0, 1); decay β of the momentum
 *      weight_decay            number  default 0.01; [0, inf); decay coefficient λ
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_TIGER "tiger"

/** SignSGD: b ← μb + (1−μ)g; w ← w − γ·(sign(b) + λw)
 *  Source: Bernstein et al. 2018, algorithm 1, arXiv:1802.04434; equals pytorch_optimizer.SignSGD.
 *  States: momentum_buffer, as far as the settings need them; with the defaults 0 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      momentum                number  default 0; [0, 1); momentum factor μ; 0 keeps no velocity
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_SIGNSGD "signsgd"

/** Fromage: w ← (w − γ·(‖w‖/‖g‖)·g)/√(1 + γ²)
 *  Source: Bernstein et al. 2020, algorithm 1, arXiv:2002.03432; equals pytorch_optimizer.Fromage and optax.fromage.
 *  States: , as far as the settings need them; with the defaults 0 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.01; [0, inf); learning rate γ
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      min_norm                number  default 0; [0, inf); least norm in the ratio; optax has 1e-6
 *      trust_ratio_scope       choice  default tensor; "tensor", "layer"; one ratio for each "tensor", or for each
 *                                        "layer" */
#define LW_RULE_FROMAGE "fromage"

/** StableAdamW: η = γ/max(1, RMS(g/max(√v, ε))); w ← w − η·(m/(√v + ε) + λw)
 *  Source: Wortsman et al. 2023, algorithm 2, arXiv:2304.13013; equals pytorch_optimizer.StableAdamW and optimi.
 *  States: exp_avg, exp_avg_sq, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.99; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0.01; [0, inf); decay coefficient λ
 *      decoupled_weight_decay  flag    default 1; decay the weights in place of the gradient
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_STABLE_ADAMW "stable_adamw"

/** MARS: c = g + γ̂·β₁/(1−β₁)·(g − g_before); m, v of c/max(1, ‖c‖); w ← w − γ·(m̂/(√v̂ + ε) + λw)
 *  Source: Yuan et al. 2024, arXiv:2411.10438; equals the authors' MARS.
 *  States: last_grad, exp_avg, exp_avg_sq, max_exp_avg_sq, as far as the settings need them; with the defaults 12
 *  bytes for each float32 parameter.
 *
 *      lr                      number  default 0.003; [0, inf); learning rate γ
 *      beta1                   number  default 0.95; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.99; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      amsgrad                 flag    default 0; divide by the largest second moment so far
 *      gamma                   number  default 0.025; [0, inf); strength γ̂ of the correction
 *      mars_type               choice  default adamw; "adamw", "lion"; what the corrected gradient is given to
 *      correct_first           flag    default 1; correct a tensor's first gradient too, as if one of 0 came before
 *      optimize_1d             flag    default 0; treat tensors of rank 0 and 1 as all others
 *      lr_1d_factor            number  default 1; [0, inf); else their rate, in units of γ
 *      beta1_1d                number  default 0.9; [0, 1); else the decay of their first moment
 *      beta2_1d                number  default 0.95; [0, 1); else the decay of their second moment
 *      weight_decay_1d         number  default 0.1; [0, inf); else their decay coefficient
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by
 *
 *  Presets, by the key "variant": paper, timm. */
#define LW_RULE_MARS "mars"

/** NovoGrad: v ← β₂v + (1−β₂)‖g‖²; m ← β₁m + g/(√v + ε) + λw; w ← w − γ·m
 *  Source: Ginsburg et al. 2019, algorithm 1, arXiv:1905.11286; equals pytorch_optimizer.NovoGrad.
 *  States: exp_avg, grad_norm, as far as the settings need them; with the defaults 4 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.95; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.98; [0, 1); decay β₂ of the squared norm
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      eps_root                number  default 0; [0, inf); number ε′ that is added to v under the root, as in optax
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      decoupled_weight_decay  flag    default 0; decay the weights in place of the direction, as AdamW does
 *      grad_averaging          flag    default 0; weigh the direction by 1 − β₁ in the first moment
 *      average_first           flag    default 0; weigh a tensor's first direction so too, as in timm and apex
 *      init_zero               flag    default 0; start the average of squared norms at 0
 *      bias_correction         flag    default 0; correct both averages for their start at 0, as in apex
 *      moment                  choice  default normalized; "normalized", "raw"; the first moment is of "normalized"
 *                                        gradients (the paper), or of "raw" ones, and then divided (apex)
 *      norm_scope              choice  default tensor; "tensor", "layer"; one norm for each "tensor", or for each
 *                                        "layer"
 *
 *  Presets, by the key "variant": paper, timm, optax, apex. */
#define LW_RULE_NOVOGRAD "novograd"

/** LANS: r = m̂/(√v̂ + ε) + λw; c = g̃/(√v̂ + ε) + λw; w ← w − γ‖w‖(β₁r/‖r‖ + (1−β₁)c/‖c‖)
 *  Source: Zheng, Lin, Zha and Li 2020, algorithm 2, arXiv:2006.13484.
 *  States: exp_avg, exp_avg_sq, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-06; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0.01; [0, inf); decay coefficient λ
 *      decay                   choice  default update; "update", "gradient"; where the decay goes: "update" is inside
 *                                        r and c (the paper), "gradient" is g̃ + λw
 *      normalize_grad          flag    default 1; divide the gradient by its norm
 *      norm_eps                flag    default 0; add ε to that norm, as gluon-nlp does
 *      grad_averaging          flag    default 1; weigh the gradient by 1 − β₁
 *      bias_correction         flag    default 1; correct both moments for their start at 0
 *      trust_ratio_scope       choice  default tensor; "tensor", "layer"; norms of each "tensor", or of each "layer"
 *
 *  Presets, by the key "variant": paper, gluon. */
#define LW_RULE_LANS "lans"

/** DoG: r̄ ← max(r̄, ‖w − w₀‖); G ← G + ‖g‖²; w ← w − γ·(r̄/√G)·g
 *  Source: Ivgi, Hinder and Carmon 2023, arXiv:2302.12022; equals dog-optimizer and optax.contrib.dog.
 *  States: init_buffer, rbar, G, as far as the settings need them; with the defaults 4 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 1; [0, inf); factor γ of the rate
 *      reps_rel                number  default 1e-06; (0, inf); first distance r_ε, relative to 1 + ‖w₀‖
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the sum of squares
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      init_eta                number  default 0; [0, inf); first rate, in place of reps_rel; 0 is none */
#define LW_RULE_DOG "dog"

/** LDoG: r̄ ← max(r̄, ‖w − w₀‖); G ← G + ‖g‖²; w ← w − γ·(r̄/√G)·g, for each tensor
 *  Source: Ivgi, Hinder and Carmon 2023, section 4, arXiv:2302.12022; equals dog-optimizer's LDoG.
 *  States: init_buffer, rbar, G, as far as the settings need them; with the defaults 4 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 1; [0, inf); factor γ of the rate
 *      reps_rel                number  default 1e-06; (0, inf); first distance r_ε, relative to 1 + ‖w₀‖
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the sum of squares
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      init_eta                number  default 0; [0, inf); first rate, in place of reps_rel; 0 is none
 *      distance_scope          choice  default tensor; "tensor", "layer"; norms of each "tensor", or of each "layer" */
#define LW_RULE_LDOG "ldog"

/** DoWG: r² ← max(r², ‖w − w₀‖²); S ← S + r²‖g‖²; w ← w − γ·r²/(√S + ε)·g
 *  Source: Khaled, Mishchenko and Jin 2023, algorithm 1, arXiv:2305.16284; equals optax.contrib.dowg.
 *  States: init_params, estim_sq_dist, weighted_sq_norm_grads, as far as the settings need them; with the defaults 4
 *  bytes for each float32 parameter.
 *
 *      lr                      number  default 1; [0, inf); factor γ of the rate
 *      init_estim_sq_dist      number  default 0; [0, inf); first squared distance; 0 is ε
 *      eps                     number  default 0.0001; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      estimate_scope          choice  default optimizer; "optimizer", "layer"; one estimate for the "optimizer", as
 *                                        published, or one for each "layer" */
#define LW_RULE_DOWG "dowg"

/** Prodigy: d̂ = N/Σr‖s‖₁; w ← w − d·γ·m/(√v + dε)
 *  Source: Mishchenko and Defazio 2024, algorithm 4, arXiv:2306.06101; equals prodigyopt.
 *  States: exp_avg, exp_avg_sq, s, p0, d, d_max, d_numerator, as far as the settings need them; with the defaults 16
 *  bytes for each float32 parameter.
 *
 *      lr                      number  default 1; [0, inf); factor γ of the estimated rate
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator, times d
 *      beta3                   number  default 0; [0, 1); decay β₃ of the estimate; 0 is √β₂
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      decoupled_weight_decay  flag    default 1; decay the weights in place of the gradient
 *      d0                      number  default 1e-06; (0, inf); first estimate d₀ of the distance
 *      d_coef                  number  default 1; (0, inf); factor of the estimate
 *      growth_rate             number  default infinity; (0, inf]; largest growth of d in one step
 *      use_bias_correction     flag    default 0; correct the rate for the moments' start at 0
 *      safeguard_warmup        flag    default 0; leave the rate out of s, for schedules that warm up
 *      layer_scale             choice  default denominator; "denominator", "both"; where a layer's rate counts in the
 *                                        estimate
 *      slice_p                 number  default 1; [1, 2147483647]; the estimate takes every slice_p-th element; the
 *                                        authors recommend 11
 *      estimate_scope          choice  default optimizer; "optimizer", "layer"; one estimate for the "optimizer", as
 *                                        published, or one for each "layer" */
#define LW_RULE_PRODIGY "prodigy"

/** DAdaptAdam: d̂ = N/((1−√β₂)Σr‖s‖₁); m ← β₁m + (1−β₁)dγg; w ← w − m/(√v + ε)
 *  Source: Defazio and Mishchenko 2023, algorithm 5, arXiv:2301.07733; equals dadaptation.DAdaptAdam.
 *  States: exp_avg, exp_avg_sq, s, d, numerator_weighted, as far as the settings need them; with the defaults 12
 *  bytes for each float32 parameter.
 *
 *      lr                      number  default 1; [0, inf); factor γ of the estimated rate
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      decoupled_weight_decay  flag    default 0; decay the weights in place of the gradient, as AdamW does
 *      d0                      number  default 1e-06; (0, inf); first estimate d₀ of the distance
 *      growth_rate             number  default infinity; (0, inf]; largest growth of d in one step
 *      use_bias_correction     flag    default 0; correct the rate for the moments' start at 0
 *      estimate_scope          choice  default optimizer; "optimizer", "layer"; one estimate for the "optimizer", as
 *                                        published, or one for each "layer" */
#define LW_RULE_DADAPT_ADAM "dadapt_adam"

/** DAdaptSGD: d̂ = 2N/(G‖s‖); s ← s + dγg; w ← μw + (1−μ)(w₀ − s/G)
 *  Source: Defazio and Mishchenko 2023, algorithm 4, arXiv:2301.07733; equals dadaptation.DAdaptSGD.
 *  States: s, x0, d, numerator_weighted, g0_norm, as far as the settings need them; with the defaults 8 bytes for
 *  each float32 parameter.
 *
 *      lr                      number  default 1; [0, inf); factor γ of the estimated rate
 *      momentum                number  default 0; [0, 1); momentum factor μ
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      d0                      number  default 1e-06; (0, inf); first estimate d₀ of the distance
 *      growth_rate             number  default infinity; (0, inf]; largest growth of d in one step
 *      estimate_scope          choice  default optimizer; "optimizer", "layer"; one estimate for the "optimizer", as
 *                                        published, or one for each "layer" */
#define LW_RULE_DADAPT_SGD "dadapt_sgd"

/** MoMo: τ = min(γ, max(0, f̄ + q − lb)/‖d‖²); w ← (w − τd)/(1 + γλ)
 *  Source: Schaipp et al. 2024, algorithm 1, arXiv:2305.07583; equals momo-opt.
 *  States: exp_avg, loss_avg, loss_weight, gap, lb, tau, as far as the settings need them; with the defaults 4 bytes
 *  for each float32 parameter.
 *
 *      lr                      number  default 1; [0, inf); largest rate γ
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      beta                    number  default 0.9; [0, 1); decay β of the averages
 *      lb                      number  default 0; (-inf, inf); lower bound of the loss
 *      bias_correction         flag    default 0; start the averages at 0, and correct them
 *      use_fstar               flag    default 0; estimate the lower bound, beginning at lb */
#define LW_RULE_MOMO "momo"

/** MoMoAdam: τ = min(γ/ρ, max(0, f̄ + q − ρ·lb)/⟨d, d/D⟩); w ← (w − τ·d/D)/(1 + γλ)
 *  Source: Schaipp et al. 2024, algorithm 2, arXiv:2305.07583; equals momo-opt.
 *  States: exp_avg, exp_avg_sq, loss_avg, loss_weight, gap, lb, tau, as far as the settings need them; with the
 *  defaults 8 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.01; [0, inf); largest rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment and of the losses
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      lb                      number  default 0; (-inf, inf); lower bound of the loss
 *      divide                  flag    default 1; divide the stepped weights by 1 + γλ, in place of AdamW's decay
 *      use_fstar               flag    default 0; estimate the lower bound, beginning at lb */
#define LW_RULE_MOMO_ADAM "momo_adam"

/** Schedule-Free AdamW: u = g/(√v̂ + ε) + λy; y ← (1−c)y + cz − γ(1 − β₁(1−c))u; z ← z − γu
 *  Source: Defazio et al. 2024, algorithm 1, arXiv:2405.15682; equals schedulefree.AdamWScheduleFree.
 *  States: z, exp_avg_sq, weight_sum, lr_max, as far as the settings need them; with the defaults 8 bytes for each
 *  float32 parameter.
 *
 *      lr                      number  default 0.0025; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; (0, 1); how near β₁ the parameters are to the average
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      warmup_steps            number  default 0; [0, 2^53]; steps of linear warm-up, counted by each tensor
 *      r                       number  default 0; [0, inf); power r of t in the weight of the average
 *      weight_lr_power         number  default 2; [0, inf); power p of the largest rate in that weight */
#define LW_RULE_SCHEDULE_FREE_ADAMW "schedule_free_adamw"

/** Schedule-Free SGD: y ← (1−c)y + cz − γ(1 − μ(1−c))(g + λy); z ← z − γ(g + λy)
 *  Source: Defazio et al. 2024, equations 2 to 4, arXiv:2405.15682; equals schedulefree.SGDScheduleFree.
 *  States: z, weight_sum, lr_max, as far as the settings need them; with the defaults 4 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 1; [0, inf); learning rate γ
 *      momentum                number  default 0.9; (0, 1); how near μ the parameters are to the average
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      warmup_steps            number  default 0; [0, 2^53]; steps of linear warm-up, counted by each tensor
 *      r                       number  default 0; [0, inf); power r of t in the weight of the average
 *      weight_lr_power         number  default 2; [0, inf); power p of the largest rate in that weight */
#define LW_RULE_SCHEDULE_FREE_SGD "schedule_free_sgd"

/** Schedule-Free RAdam: u = g/(√v̂ + ε) + λy; y ← (1−c)y + cz − γr(1 − β₁(1−c))u; z ← z − γr·u
 *  Source: Defazio et al. 2024, arXiv:2405.15682; equals schedulefree.RAdamScheduleFree.
 *  States: z, exp_avg_sq, weight_sum, lr_max, as far as the settings need them; with the defaults 8 bytes for each
 *  float32 parameter.
 *
 *      lr                      number  default 0.0025; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; (0, 1); how near β₁ the parameters are to the average
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      r                       number  default 0; [0, inf); power r of t in the weight of the average
 *      weight_lr_power         number  default 2; [0, inf); power p of the largest rate in that weight
 *      silent_sgd_phase        flag    default 1; leave the weights alone while the second moment is not known well
 *                                        enough, in place of steps of SGD */
#define LW_RULE_SCHEDULE_FREE_RADAM "schedule_free_radam"

/** Adafactor: u = g/√(RC/mean(R)); w ← w − min(γ, 1/√t)·max(ε₂, RMS(w))·u/max(1, RMS(u)/d) − γλw
 *  Source: Shazeer and Stern 2018, algorithms 4 and 5, arXiv:1804.04235; equals torch.optim.Adafactor.
 *  States: variance, row_var, col_var, exp_avg, as far as the settings need them; with the defaults 4 bytes for each
 *  float32 parameter.
 *
 *      lr                      number  default 0.01; [0, inf); learning rate γ
 *      beta2_decay             number  default -0.8; (-inf, 0]; power β₂decay of t, the weight of a step in the
 *                                        second moment
 *      eps1                    number  default 0; [0, inf); bound ε₁ of √v; 0 is the epsilon of the parameter's type
 *      eps2                    number  default 0.001; [0, inf); least size ε₂ of the weights
 *      d                       number  default 1; (0, inf); largest root mean square d of u
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      beta1                   number  default 0; [0, 1); decay β₁ of the average of changes; 0 keeps none
 *      step_size               choice  default capped; "capped", "relative", "warmup", "constant"; "capped" is min(γ,
 *                                        1/√t) (torch), "relative" γ·min(0.01, 1/√t), "warmup" γ·min(1e-6·t, 1/√t),
 *                                        "constant" γ
 *      scale_parameter         flag    default 1; multiply the change by max(ε₂, RMS(w))
 *      eps_position            choice  default floor; "floor", "added"; "floor" bounds √v from below (torch), "added"
 *                                        adds ε₁ to g² (transformers)
 *      decay                   choice  default lr; "lr", "step"; the weights decay by "lr" times λ (torch), or by
 *                                        "step", all that multiplies u, times λ
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by
 *
 *  Presets, by the key "variant": torch, transformers. */
#define LW_RULE_ADAFACTOR "adafactor"

/** CAME: û = clip(g/√v); m ← m + (1−β₁)(û − m); i ← average of (û − m)²; w ← w − γ·m/√i − γλw
 *  Source: Luo et al. 2023, algorithm 2, arXiv:2307.02047; equals pytorch_optimizer.CAME.
 *  States: exp_avg_sq, exp_avg_sq_row, exp_avg_sq_col, exp_avg, exp_avg_res_row, exp_avg_res_col, as far as the
 *  settings need them; with the defaults 8 bytes for each float32 parameter.
 *
 *      lr                      number  default 0.0002; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the average of changes
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      beta3                   number  default 0.9999; [0, 1); decay β₃ of the disagreement
 *      eps1                    number  default 1e-30; [0, inf); number ε₁ that is added to g²
 *      eps2                    number  default 1e-16; [0, inf); number ε₂ that is added to the square of the
 *                                        disagreement
 *      clip_threshold          number  default 1; (0, inf); largest root mean square d of u
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_CAME "came"

/** SM3: ν = min(μ) + g²; μ ← max(ν) by place along each axis; m ← μ₁m + (1−μ₁)·g/√(ν + ε); w ← w − γm − γλw
 *  Source: Anil et al. 2019, SM3-II, arXiv:1901.11150; equals pytorch_optimizer.SM3.
 *  States: accumulator, momentum_buffer, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.1; [0, inf); learning rate γ
 *      momentum                number  default 0.9; [0, 1); decay of the average of changes; 0 keeps none
 *      beta                    number  default 0; [0, 1); decay β of the squares; 0: their sum
 *      eps                     number  default 1e-30; [0, inf); number ε that is added to ν
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      monotone                flag    default 1; with β above 0, the largest numbers never fall
 *
 *  Presets, by the key "variant": pytorch_optimizer, optax. */
#define LW_RULE_SM3 "sm3"

/** Adam-Mini: v ← β₂v + (1−β₂)·mean(g²) of a block; w ← w − γ·(m̂/(√v̂ + ε) + λw)
 *  Source: Zhang et al. 2024, algorithm 1, arXiv:2406.16793; equals the authors' package for equal blocks.
 *  States: exp_avg, exp_avg_sq_row, as far as the settings need them; with the defaults 4 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      beta1                   number  default 0.9; [0, 1); decay β₁ of the first moment
 *      beta2                   number  default 0.999; [0, 1); decay β₂ of the second moment
 *      eps                     number  default 1e-08; [0, inf); number ε that is added to the denominator
 *      weight_decay            number  default 0; [0, inf); decay coefficient λ
 *      block_rows              number  default 0; [0, 2147483647]; rows that share a second moment, in tensors of
 *                                        rank 2 and more; 0: the whole tensor
 *      cautious                choice  default none; "none", "update", "decay"; weights take the "update" only where
 *                                        it has the sign of the gradient, or the "decay" only where it has the sign
 *                                        of the update; "none" takes both everywhere
 *      corrected_weight_decay  flag    default 0; multiply decoupled decay by what the schedule multiplies lr by */
#define LW_RULE_ADAM_MINI "adam_mini"

/** Muon: m ← m + (1−μ)(g − m); O = NewtonSchulz(g + μ(m − g)); w ← w − γ·s·O − γλw
 *  Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon; equals torch.optim.Muon with
 *  ns_precision="bfloat16".
 *  States: momentum_buffer, exp_avg_sq, as far as the settings need them; with the defaults 8 bytes for each float32
 *  parameter.
 *
 *      lr                      number  default 0.001; [0, inf); learning rate γ
 *      weight_decay            number  default 0.1; [0, inf); decay coefficient λ
 *      momentum                number  default 0.95; [0, 1); decay μ of the momentum
 *      nesterov                flag    default 1; look ahead along the momentum
 *      ns_coefficients1        number  default 3.4445; (-inf, inf); coefficient a of a constant schedule
 *      ns_coefficients2        number  default -4.775; (-inf, inf); coefficient b of a constant schedule
 *      ns_coefficients3        number  default 2.0315; (-inf, inf); coefficient c of a constant schedule
 *      eps                     number  default 1e-07; (0, inf); least norm ε that a matrix is divided by
 *      ns_steps                number  default 5; [1, 99]; how many times the polynomial is applied
 *      adjust_lr_fn            choice  default original; "original", "match_rms_adamw", "spectral", "none"; factor s
 *                                        of the rate: "original" is √max(1, R/C), "match_rms_adamw" 0.2·√max(R, C),
 *                                        "spectral" √(R/C), "none" 1
 *      ns_schedule             choice  default constant; "constant", "quintic", "polar_express"; coefficients of the
 *                                        iterations: "constant" takes ns_coefficients in all, "quintic" five
 *                                        polynomials found together, "polar_express" those of arXiv:2505.16932
 *      axes                    choice  default first; "first", "last"; a tensor of rank 3 and more is one matrix, the
 *                                        "first" axis against the others, or matrices of the "last" two axes
 *      ns_precision            choice  default full; "full", "bfloat16"; what the matrices of the iterations are
 *                                        rounded to: "full" nothing, "bfloat16" that type after each product, as
 *                                        torch does
 *      adamw_lr_scale          number  default 1; [0, inf); the rate of tensors of rank 0 and 1, in units of γ
 *      adamw_beta1             number  default 0.9; [0, 1); decay of the first moment of tensors of rank 0 and 1
 *      adamw_beta2             number  default 0.95; [0, 1); decay of the second moment of tensors of rank 0 and 1
 *      adamw_eps               number  default 1e-10; [0, inf); number that is added to the denominator of theirs */
#define LW_RULE_MUON "muon"

/* ---- Policies ------------------------------------------------------------------------------------------------------ */

/** One rate for all layers: scale = 1
 *  Source: every optimizer's default. */
#define LW_POLICY_UNIFORM "uniform"

/** A scale or a rate for each layer by name or pattern; "*" is every other layer: scale = that of the pattern that
 *  matches
 *  Source: mmengine's custom_keys, Burn's groups, Keras's OptimizerMap, with strict matching.
 *  Parts: layers: match, scale, lr.
 *
 *      syntax                  choice  default exact; "exact", "glob", "regex"; how patterns are written: "exact",
 *                                        "glob" or "regex"
 *      unused                  choice  default error; "error", "ignore"; what a pattern that matches no layer is: an
 *                                        "error", or something to "ignore"
 *      unmatched               choice  default error; "error", "keep"; what a layer that no pattern matches is: an
 *                                        "error", or one to "keep" as it is
 *      ambiguous               choice  default error; "error", "first", "last"; what a layer that several patterns
 *                                        match is: an "error", or one for the "first" or "last" of them, in the order
 *                                        of the arguments */
#define LW_POLICY_EXPLICIT "explicit"

/** Rates that fall layer by layer: scale = max(min_scale, decay^distance)
 *  Source: Clark et al. 2020, arXiv:2003.10555; timm, BEiT, MAE and ELECTRA, which count the distance differently.
 *
 *      decay                   number  default 0.75; (0, 1]; factor from one distance to the next
 *      min_scale               number  default 0; [0, 1]; no scale falls below this
 *      direction               choice  default input; "input", "output"; "input" or "output": the end with the lowest
 *                                        rate
 *      convention              choice  default depth; "depth", "timm", "beit", "mae", "electra"; how the distance is
 *                                        counted: by "depth", or as in "timm", "beit", "mae" or "electra"
 *      head_scale              number  no default; [0, inf); scale of heads in place of the decay's */
#define LW_POLICY_LAYER_DECAY "layer_decay"

/** Rates that rise geometrically from depth 0 to the top: scale = lowest·(highest/lowest)^(depth/top)
 *  Source: fastai's slice(lo, hi), as multipliers.
 *
 *      lowest                  number  default 0.01; (0, inf); scale at depth 0, at most highest
 *      highest                 number  default 1; (0, inf); scale at the highest depth */
#define LW_POLICY_GEOMETRIC_RANGE "geometric_range"
#define LW_POLICY_RANGE LW_POLICY_GEOMETRIC_RANGE

/** Each layer's rate is a fraction of that of the layer above: scale = factor^−(layers above)
 *  Source: Howard and Ruder 2018, arXiv:1801.06146, §3.2.
 *
 *      factor                  number  default 2.6; [1, inf); ratio between neighbouring layers */
#define LW_POLICY_ULMFIT "ulmfit"

/** Fastai's slice: rates from the first layer to the last: rate = lowest·(highest/lowest)^(i/(n−1)); without lowest:
 *  highest/10 below the last layer
 *  Source: fastai, even_mults.
 *
 *      lowest                  number  no default; (0, inf); rate of the first layer, at most highest
 *      highest                 number  no default; (0, inf); rate of the last layer */
#define LW_POLICY_RATE_SLICE "rate_slice"
#define LW_POLICY_SLICE LW_POLICY_RATE_SLICE

/** Tensors without decay or trust ratio, by rank or name: λ = 0 and trust ratio 1 for tensors of rank ≤ max_rank and
 *  those that a pattern matches
 *  Source: timm (weight_decay_exclude_1d, no_weight_decay), BERT, LARS.
 *  Parts: tensors: match.
 *
 *      decay                   flag    default 1; they do not decay
 *      trust_ratio             flag    default 1; no trust ratio adapts them
 *      max_rank                number  default 1; [-1, 16]; tensors of this rank or less are excluded; -1: none
 *      syntax                  choice  default glob; "exact", "glob", "regex"; how patterns are written: "exact",
 *                                        "glob" or "regex"
 *      unused                  choice  default error; "error", "ignore"; what a pattern that matches no tensor is: an
 *                                        "error", or something to "ignore" */
#define LW_POLICY_EXCLUDE "exclude"

/** Rates by width: the maximal update parametrization: adam: scale = base_fan_in/fan_in of matrices; sgd: scale =
 *  (m_out/m_in) of matrices, m of vectors
 *  Source: Yang et al. 2022, arXiv:2203.03466, table 8; microsoft/mup MuAdam, MuSGD.
 *  Parts: base: match, fan_in, fan_out.
 *
 *      family                  choice  default adam; "adam", "sgd"; which rules' scaling: "adam" or "sgd"
 *      decoupled_decay         flag    default 0; leave the decay as it is; else γ·λ stays as it is
 *      layout                  choice  default out_in; "out_in", "in_out"; where a weight's dimensions stand:
 *                                        "out_in" (fan_out, fan_in, ...) as in torch, "in_out" (..., fan_in, fan_out)
 *                                        as in JAX and Keras
 *      syntax                  choice  default glob; "exact", "glob", "regex"; how patterns are written: "exact",
 *                                        "glob" or "regex" */
#define LW_POLICY_MUP "mup"

/** Rates by width and depth: muP with a factor for the depth: blocks: scale = m_L^(a−1)/m_N of matrices, m_L^(a−1) of
 *  vectors
 *  Source: Dey et al. 2025, arXiv:2505.01618; EleutherAI/nanoGPT-mup, branch completep.
 *
 *      width                   number  no default; (0, inf); m_N: the width over that of the base model
 *      depth                   number  no default; (0, inf); m_L: the number of blocks over that of the base model
 *      alpha                   number  default 1; [0, 1]; a: the exponent of the depth; residual branches have
 *                                        m_L^(−a) */
#define LW_POLICY_COMPLETEP "completep"

/** Rates by what a tensor of a transformer does: norm, attention, feed-forward, embedding: scale = 1 : 4 : 6 : 8 : 10
 *  for norm : VO : FFN : QK : embedding
 *  Source: Wang et al. 2025, arXiv:2502.19002.
 *
 *      norm                    number  default 1; [0, inf); scale of norms
 *      value_output            number  default 4; [0, inf); scale of values and outputs of attention
 *      feed_forward            number  default 6; [0, inf); scale of feed-forward layers
 *      query_key               number  default 8; [0, inf); scale of queries and keys
 *      embedding               number  default 10; [0, inf); scale of embeddings
 *      others                  number  default 1; [0, inf); scale of all others, such as the head
 *      norm_match              text    default ; regular expression of norms; "": the usual names
 *      query_key_match         text    default ; likewise of queries and keys
 *      value_output_match      text    default ; likewise of values and outputs of attention
 *      feed_forward_match      text    default ; likewise of feed-forward layers
 *      embedding_match         text    default ; likewise of embeddings */
#define LW_POLICY_BLOCKWISE "blockwise"

/** Higher rates for LoRA's B: scale = ratio for B and vectors, 1 for A
 *  Source: Hayou, Ghosh, Yu 2024, arXiv:2402.12354; PEFT create_loraplus_optimizer.
 *
 *      ratio                   number  default 16; (0, inf); rate of B over rate of A
 *      match                   text    default *lora_B*; pattern of B, a "layer/tensor", which must match some tensor
 *      vectors                 flag    default 1; tensors of rank 0 and 1 have B's rate, as in PEFT
 *      syntax                  choice  default glob; "exact", "glob", "regex"; how the pattern is written: "exact",
 *                                        "glob" or "regex" */
#define LW_POLICY_LORA_PLUS "lora_plus"

/** Rates that follow the relative gradient norm of each layer, as measured at every step: scale = (EMA(‖g‖/‖w‖) /
 *  max)^power
 *  Source: Lee et al. 2023, arXiv:2210.11466, Auto-RGN, which measures tensors once an epoch.
 *
 *      power                   number  default 2; (0, inf); exponent of the ratio to the largest: 1 as published; 2
 *                                        singles layers out more sharply
 *      average                 number  default 0.9; [0, 1); share of the average that a step keeps; 0: the last value
 *                                        alone
 *      warmup                  number  default 1; [1, 2^53]; steps of a layer that are measured before its scale
 *                                        changes
 *      period                  number  default 1; [1, 2^53]; steps of a layer from one change of its scale to the
 *                                        next
 *      ramp                    number  default 0; [0, 2^53]; steps over which the scale goes from start_scale to what
 *                                        is measured
 *      min_scale               number  default 0; [0, inf); no measured scale is lower
 *      max_scale               number  default 1; (0, inf); no measured scale is higher
 *      start_scale             number  default 1; (0, inf); the scale of the steps before the first that is measured
 *      unit                    choice  default layer; "layer", "tower"; what has a scale of its own: each "layer", or
 *                                        each "tower" as a whole */
#define LW_POLICY_RELATIVE_GRADIENT_NORM "relative_gradient_norm"

/** Rates at which every layer moves by a given share of its weights at each step: scale = ratio / EMA(‖Δw‖/‖w‖ per
 *  unit of rate) / base rate
 *  Source: Layerwise; the ratio is a common diagnostic (Karpathy, CS231n notes).
 *
 *      ratio                   number  default 0.001; (0, inf); ‖Δw‖/‖w‖ of a step, where the schedule's factor is 1
 *      average                 number  default 0.9; [0, 1); share of the average that a step keeps; 0: the last value
 *                                        alone
 *      warmup                  number  default 1; [1, 2^53]; steps of a layer that are measured before its scale
 *                                        changes
 *      period                  number  default 1; [1, 2^53]; steps of a layer from one change of its scale to the
 *                                        next
 *      ramp                    number  default 0; [0, 2^53]; steps over which the scale goes from start_scale to what
 *                                        is measured
 *      min_scale               number  default 0.001; [0, inf); no measured scale is lower
 *      max_scale               number  default 1000; (0, inf); no measured scale is higher
 *      start_scale             number  default 1; (0, inf); the scale of the steps before the first that is measured
 *      unit                    choice  default layer; "layer", "tower"; what has a scale of its own: each "layer", or
 *                                        each "tower" as a whole */
#define LW_POLICY_UPDATE_RATIO "update_ratio"

/** A rate from the ratio of weight to gradient norms of each layer, for any rule: scale = min(trust·‖w‖/(‖g‖ + λ‖w‖ +
 *  ε)/rate, 1)
 *  Source: NVIDIA apex LARC, for each layer and from the step before.
 *
 *      trust                   number  default 0.02; (0, inf); η: the ratio of change to weights that is aimed at
 *      clip                    flag    default 1; only lower rates
 *      eps                     number  default 1e-08; [0, inf); what is added to the divisor
 *      average                 number  default 0; [0, 1); share of the average that a step keeps; 0: the last value
 *                                        alone
 *      warmup                  number  default 1; [1, 2^53]; steps of a layer that are measured before its scale
 *                                        changes
 *      period                  number  default 1; [1, 2^53]; steps of a layer from one change of its scale to the
 *                                        next
 *      ramp                    number  default 0; [0, 2^53]; steps over which the scale goes from start_scale to what
 *                                        is measured
 *      min_scale               number  default 0; [0, inf); no measured scale is lower
 *      max_scale               number  default 1000; (0, inf); no measured scale is higher
 *      start_scale             number  default 1; (0, inf); the scale of the steps before the first that is measured
 *      unit                    choice  default layer; "layer", "tower"; what has a scale of its own: each "layer", or
 *                                        each "tower" as a whole */
#define LW_POLICY_LARC "larc"

/** LARS's ratio with a factor that begins high and falls, in place of a warm-up, for any rule: scale = η·‖w‖/(‖g‖ +
 *  λ‖w‖ + ε)·(1/(α + e^(s·(t − d))) + lowest)
 *  Source: Do, Tran, Tran 2023, arXiv:2309.14053, for each layer and from the step before.
 *
 *      trust                   number  default 0.001; (0, inf); η
 *      steepness               number  default 0.001; (0, inf); how fast the factor falls
 *      alpha                   number  default 0.1; (0, inf); bounds the factor at 1/alpha
 *      delay                   number  default 0; [0, inf); steps by which the fall is put off
 *      lowest                  number  default 0; [0, inf); what the factor falls to
 *      eps                     number  default 1e-08; [0, inf); what is added to the divisor
 *      average                 number  default 0; [0, 1); share of the average that a step keeps; 0: the last value
 *                                        alone
 *      warmup                  number  default 1; [1, 2^53]; steps of a layer that are measured before its scale
 *                                        changes
 *      period                  number  default 1; [1, 2^53]; steps of a layer from one change of its scale to the
 *                                        next
 *      ramp                    number  default 0; [0, 2^53]; steps over which the scale goes from start_scale to what
 *                                        is measured
 *      min_scale               number  default 0; [0, inf); no measured scale is lower
 *      max_scale               number  default 1000; (0, inf); no measured scale is higher
 *      start_scale             number  default 1; (0, inf); the scale of the steps before the first that is measured
 *      unit                    choice  default layer; "layer", "tower"; what has a scale of its own: each "layer", or
 *                                        each "tower" as a whole */
#define LW_POLICY_TVLARS "tvlars"

/** Rates that grow while a layer's gradient agrees with its last change, and fall while it does not: scale ← scale ·
 *  exp(β·cos(g, u)), u the last change
 *  Source: Baydin et al. 2018, arXiv:1703.04782, for each layer.
 *
 *      beta                    number  default 0.02; (0, inf); how fast scales change
 *      form                    choice  default cosine; "cosine", "published"; how a product changes the scale:
 *                                        "cosine" or "published"
 *      average                 number  default 0; [0, 1); share of the average that a step keeps; 0: the last value
 *                                        alone
 *      warmup                  number  default 1; [1, 2^53]; steps of a layer that are measured before its scale
 *                                        changes
 *      period                  number  default 1; [1, 2^53]; steps of a layer from one change of its scale to the
 *                                        next
 *      ramp                    number  default 0; [0, 2^53]; steps over which the scale goes from start_scale to what
 *                                        is measured
 *      min_scale               number  default 0.001; [0, inf); no measured scale is lower
 *      max_scale               number  default 1000; (0, inf); no measured scale is higher
 *      start_scale             number  default 1; (0, inf); the scale of the steps before the first that is measured
 *      unit                    choice  default layer; "layer", "tower"; what has a scale of its own: each "layer", or
 *                                        each "tower" as a whole */
#define LW_POLICY_HYPERGRADIENT "hypergradient"

/** Rates that grow while most elements of a layer keep the sign of their last change, and fall while they do not:
 *  scale ← scale ± bump, by the share of signs kept
 *  Source: Automagic v2 of ai-toolkit (Ostris), for each layer and any rule.
 *
 *      bump                    number  default 0.01; (0, inf); by how much a scale changes
 *      threshold               number  default 0.5; (0, 1); share of signs kept from which on a scale grows
 *      average                 number  default 0; [0, 1); share of the average that a step keeps; 0: the last value
 *                                        alone
 *      warmup                  number  default 1; [1, 2^53]; steps of a layer that are measured before its scale
 *                                        changes
 *      period                  number  default 1; [1, 2^53]; steps of a layer from one change of its scale to the
 *                                        next
 *      ramp                    number  default 0; [0, 2^53]; steps over which the scale goes from start_scale to what
 *                                        is measured
 *      min_scale               number  default 0.1; [0, inf); no measured scale is lower
 *      max_scale               number  default 10; (0, inf); no measured scale is higher
 *      start_scale             number  default 1; (0, inf); the scale of the steps before the first that is measured
 *      unit                    choice  default layer; "layer", "tower"; what has a scale of its own: each "layer", or
 *                                        each "tower" as a whole */
#define LW_POLICY_SIGN_AGREEMENT "sign_agreement"

/** Rates from the distance that a layer has come, for any rule: scale = max‖w − w₀‖ / √Σ‖u‖²
 *  Source: Ivgi, Hinder, Carmon 2023, arXiv:2302.12022, L-DoG, as a scale.
 *
 *      reps_rel                number  default 1e-06; (0, inf); the first distance, relative to 1 + ‖w‖
 *      warmup                  number  default 1; [1, 2^53]; steps of a layer that are measured before its scale
 *                                        changes
 *      period                  number  default 1; [1, 2^53]; steps of a layer from one change of its scale to the
 *                                        next
 *      ramp                    number  default 0; [0, 2^53]; steps over which the scale goes from start_scale to what
 *                                        is measured
 *      min_scale               number  default 0; [0, inf); no measured scale is lower
 *      max_scale               number  default 1e+06; (0, inf); no measured scale is higher
 *      start_scale             number  default 1e-06; (0, inf); the scale of the steps before the first that is
 *                                        measured
 *      unit                    choice  default layer; "layer", "tower"; what has a scale of its own: each "layer", or
 *                                        each "tower" as a whole */
#define LW_POLICY_LDOG_SCALE "ldog_scale"

/** Rates that follow the share of signal in the gradients of each layer, as micro-batches show it: scale = |G|²/(|G|²
 *  + S/n)
 *  Source: McCandlish et al. 2018, arXiv:1812.06162, for each layer.
 *
 *      average                 number  default 0.95; [0, 1); share of the average that a step keeps; 0: the last
 *                                        value alone
 *      warmup                  number  default 5; [1, 2^53]; steps of a layer that are measured before its scale
 *                                        changes
 *      period                  number  default 1; [1, 2^53]; steps of a layer from one change of its scale to the
 *                                        next
 *      ramp                    number  default 0; [0, 2^53]; steps over which the scale goes from start_scale to what
 *                                        is measured
 *      min_scale               number  default 0.01; [0, inf); no measured scale is lower
 *      max_scale               number  default 1; (0, inf); no measured scale is higher
 *      start_scale             number  default 1; (0, inf); the scale of the steps before the first that is measured
 *      unit                    choice  default layer; "layer", "tower"; what has a scale of its own: each "layer", or
 *                                        each "tower" as a whole */
#define LW_POLICY_GRADIENT_NOISE "gradient_noise"

/** Rates at which layers move the more the nearer they are to the output: scale ← scale · aim / movement, while
 *  movements do not rise with depth
 *  Source: Ro and Choi 2021, arXiv:2002.06048, without trials.
 *
 *      threshold               number  default 0.94; [0, 1); the score that is good enough
 *      threshold_decay         number  default 0.99; (0, 1]; what the threshold is multiplied by after each good
 *                                        score, until it is below 0.8
 *      lowest                  number  default 2; (0, inf); the first aim of the first layer, in least movements
 *      highest                 number  default 0.4; (0, inf); the first aim of the last layer, in largest movements
 *      average                 number  default 0.9; [0, 1); share of the average that a step keeps; 0: the last value
 *                                        alone
 *      warmup                  number  default 20; [1, 2^53]; steps of a layer that are measured before its scale
 *                                        changes
 *      period                  number  default 20; [1, 2^53]; steps of a layer from one change of its scale to the
 *                                        next
 *      ramp                    number  default 0; [0, 2^53]; steps over which the scale goes from start_scale to what
 *                                        is measured
 *      min_scale               number  default 0.001; [0, inf); no measured scale is lower
 *      max_scale               number  default 1000; (0, inf); no measured scale is higher
 *      start_scale             number  default 1; (0, inf); the scale of the steps before the first that is measured */
#define LW_POLICY_AUTO_LR "auto_lr"

/** Rates that follow the singular values of the weights, whenever measure_spectra is called: scale = lowest +
 *  (highest − lowest)·(α − min)/(max − min)
 *  Source: Zhou et al. 2023, TempBalance; LLR, arXiv:2605.22297.
 *
 *      lowest                  number  default 0.5; [0, inf); scale of the layer with the least value
 *      highest                 number  default 1.5; (0, inf); scale of the layer with the largest value
 *      measure                 choice  default alpha; "alpha", "stable_rank", "spectral_norm"; what is read off:
 *                                        "alpha", "stable_rank" or "spectral_norm"
 *      ends                    choice  default one; "one", "highest", "measured"; scale of the first layer and the
 *                                        head: "one", the "highest", or as "measured"
 *      least_rank              number  default 50; [2, 2^20]; tensors with fewer rows or columns are left out
 *      average                 number  default 0; [0, 1); share of the average that a call keeps; 0: the last value
 *                                        alone
 *      ramp                    number  default 0; [0, 2^53]; steps in which a scale goes from the present one to a
 *                                        new one */
#define LW_POLICY_TEMP_BALANCE "temp_balance"

/** Weight decay that follows the singular values of the weights, whenever measure_spectra is called: λ · (lowest +
 *  (highest − lowest)·(α − min)/(max − min))
 *  Source: AlphaDecay, arXiv:2506.14562, for each layer.
 *
 *      lowest                  number  default 0.5; [0, inf); factor of the layer with the least value
 *      highest                 number  default 1.5; (0, inf); factor of the layer with the largest value
 *      map                     choice  default linear; "linear", "sigmoid"; how values become factors: "linear" or
 *                                        "sigmoid"
 *      of                      choice  default decay; "decay", "rate"; what is multiplied: the weight "decay" or the
 *                                        "rate"
 *      measure                 choice  default alpha; "alpha", "stable_rank", "spectral_norm"; what is read off:
 *                                        "alpha", "stable_rank" or "spectral_norm"
 *      ends                    choice  default one; "one", "highest", "measured"; scale of the first layer and the
 *                                        head: "one", the "highest", or as "measured"
 *      least_rank              number  default 50; [2, 2^20]; tensors with fewer rows or columns are left out
 *      average                 number  default 0; [0, 1); share of the average that a call keeps; 0: the last value
 *                                        alone
 *      ramp                    number  default 0; [0, 2^53]; steps in which a scale goes from the present one to a
 *                                        new one */
#define LW_POLICY_ALPHA_DECAY "alpha_decay"

/** A policy for the layers of one tower only: scale = that of the part, else 1
 *  Source: Layerwise.
 *  Parts: one policy.
 *
 *      tower                   text    default ; the tower's name, which some layer must have */
#define LW_POLICY_FOR_TOWER "for_tower"

/** Several policies at once: their scales multiply: scale = ∏ scaleᵢ
 *  Source: Layerwise.
 *  Parts: two policies or more. */
#define LW_POLICY_COMBINE "combine"

/* ---- Schedules ----------------------------------------------------------------------------------------------------- */

/** The same factor at every step: f = factor
 *  Source: optax constant_schedule, Hugging Face constant.
 *
 *      factor                  number  default 1; [0, inf); the factor */
#define LW_SCHEDULE_CONSTANT "constant"

/** Down a straight line: f = 1 − p
 *  Source: Hugging Face linear, torch LinearLR, optax linear_schedule.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end, warm-up included
 *      warmup_steps            number  default 0; [0, 2^53]; W: steps of warm-up
 *      min_lr                  number  default 0; [0, inf); the floor, as a rate
 *      floor                   choice  default scaled; "scaled", "absolute", "relative"; what min_lr is for a layer:
 *                                        "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate
 *      min_factor              number  default 0; [0, 1]; the floor as a share of the layer's own rate; in place of
 *                                        min_lr */
#define LW_SCHEDULE_LINEAR "linear"

/** Down half a cosine: f = (½(1 + cos(2π·cycles·pᵏ)))^exponent
 *  Source: Loshchilov and Hutter 2017, arXiv:1608.03983; torch CosineAnnealingLR, Hugging Face cosine, timm, optax.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end, warm-up included
 *      warmup_steps            number  default 0; [0, 2^53]; W: steps of warm-up
 *      min_lr                  number  default 0; [0, inf); the floor, as a rate
 *      floor                   choice  default scaled; "scaled", "absolute", "relative"; what min_lr is for a layer:
 *                                        "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate
 *      min_factor              number  default 0; [0, 1]; the floor as a share of the layer's own rate; in place of
 *                                        min_lr
 *      cycles                  number  default 0.5; (0, inf); waves; 0.5 is down once
 *      k_decay                 number  default 1; (0, inf); k: power of the progress
 *      exponent                number  default 1; (0, inf); power of the cosine */
#define LW_SCHEDULE_COSINE "cosine"

/** Down half a cosine, again and again: f = ½(1 + cos(π·Tcur/Tᵢ)), Tᵢ = cycle_steps·cycle_multⁱ
 *  Source: Loshchilov and Hutter 2017, arXiv:1608.03983; torch CosineAnnealingWarmRestarts, Hugging Face, timm.
 *
 *      cycle_steps             number  no default; [1, inf); T₀: steps of the first cycle, not always whole
 *      cycle_mult              number  default 1; [1, inf); how much longer each cycle is than the one before
 *      amplitude               number  default 1; (0, 1]; each peak over the one before
 *      cycle_limit             number  default 0; [0, 2^53]; cycles, then the floor; 0: no end
 *      warmup_steps            number  default 0; [0, 2^53]; W: steps of linear warm-up from 0
 *      min_lr                  number  default 0; [0, inf); the floor, as a rate
 *      floor                   choice  default scaled; "scaled", "absolute", "relative"; what min_lr is for a layer:
 *                                        "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate
 *      min_factor              number  default 0; [0, 1]; the floor as a share of the layer's own rate; in place of
 *                                        min_lr */
#define LW_SCHEDULE_COSINE_RESTARTS "cosine_restarts"

/** Down a power of what is left: f = (1 − pᵏ)^power
 *  Source: torch PolynomialLR, Hugging Face polynomial, timm poly, Keras PolynomialDecay, optax polynomial_schedule.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end, warm-up included
 *      warmup_steps            number  default 0; [0, 2^53]; W: steps of warm-up
 *      min_lr                  number  default 0; [0, inf); the floor, as a rate
 *      floor                   choice  default scaled; "scaled", "absolute", "relative"; what min_lr is for a layer:
 *                                        "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate
 *      min_factor              number  default 0; [0, 1]; the floor as a share of the layer's own rate; in place of
 *                                        min_lr
 *      power                   number  default 1; (0, inf); power of what is left
 *      k_decay                 number  default 1; (0, inf); k: power of the progress */
#define LW_SCHEDULE_POLYNOMIAL "polynomial"

/** A constant share at each step: f = max(γ^(t/every), lowest)
 *  Source: torch ExponentialLR, optax exponential_decay, Keras ExponentialDecay.
 *
 *      gamma                   number  no default; (0, 1]; γ: what is left after `every` steps
 *      every                   number  default 1; [1, 2^53]; steps for one factor of γ
 *      staircase               flag    default 0; whole factors only
 *      lowest                  number  default 0; [0, 1]; no factor is lower */
#define LW_SCHEDULE_EXPONENTIAL "exponential"

/** A factor of γ every so many steps: f = γ^⌊t/every⌋
 *  Source: torch StepLR.
 *
 *      every                   number  no default; [1, 2^53]; steps for one factor of γ
 *      gamma                   number  default 0.1; (0, 1]; γ: the factor */
#define LW_SCHEDULE_STEP_DECAY "step_decay"
#define LW_SCHEDULE_STEP LW_SCHEDULE_STEP_DECAY

/** A factor of γ at each milestone: f = γ^#{milestones ≤ t}
 *  Source: torch MultiStepLR.
 *  Values: milestones: steps, rising.
 *
 *      gamma                   number  default 0.1; (0, 1]; γ: the factor of each milestone */
#define LW_SCHEDULE_MULTI_STEP "multi_step"

/** Down with the square root of time: f = 1/√((t − W + s)/s)
 *  Source: Hugging Face inverse_sqrt, fairseq inverse_sqrt.
 *
 *      warmup_steps            number  default 0; [0, 2^53]; W: steps of linear warm-up from 0
 *      timescale               number  default 0; [0, 2^53]; s; 0: warmup_steps, or 10000 if that is 0 too */
#define LW_SCHEDULE_INVERSE_SQRT "inverse_sqrt"

/** Down with time: f = 1/(1 + rate·t/every)
 *  Source: Keras InverseTimeDecay.
 *
 *      rate                    number  no default; (0, inf); how fast
 *      every                   number  default 1; [1, 2^53]; steps that count as one
 *      staircase               flag    default 0; whole numbers of `every` steps only */
#define LW_SCHEDULE_INVERSE_TIME "inverse_time"

/** Up a straight line, then down with the square root of time: f = model_size^−½·min(s^−½, s·W^−1.5), s = t + 1
 *  Source: Vaswani et al. 2017, arXiv:1706.03762; AllenNLP NoamLR.
 *
 *      model_size              number  no default; [1, 2^53]; width of the model
 *      warmup_steps            number  no default; [1, 2^53]; W: steps up */
#define LW_SCHEDULE_NOAM "noam"

/** Up to the base rate and far down, once: f: 1/div_factor → 1 → 1/(div_factor·final_div_factor)
 *  Source: Smith and Topin 2018, arXiv:1708.07120; torch OneCycleLR, fastai fit_one_cycle, optax onecycle.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end
 *      pct_start               number  default 0.3; [0, 1]; share of the steps up to the peak; at most 0.5 with
 *                                        three_phase
 *      anneal                  choice  default cosine; "cosine", "linear"; the curve of each phase
 *      three_phase             flag    default 0; down as it went up, and only then to the end
 *      timing                  choice  default torch; "torch", "fraction"; which steps phases end at: "torch",
 *                                        pct_start·T − 1 and T − 1; "fraction", pct_start·T and T
 *      div_factor              number  default 25; (0, inf); the peak over the start
 *      final_div_factor        number  default 10000; (0, inf); the start over the end */
#define LW_SCHEDULE_ONE_CYCLE "one_cycle"

/** The momentum that goes with one_cycle: value: max_momentum → base_momentum → max_momentum
 *  Source: torch OneCycleLR, fastai fit_one_cycle.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end
 *      pct_start               number  default 0.3; [0, 1]; share of the steps up to the peak; at most 0.5 with
 *                                        three_phase
 *      anneal                  choice  default cosine; "cosine", "linear"; the curve of each phase
 *      three_phase             flag    default 0; down as it went up, and only then to the end
 *      timing                  choice  default torch; "torch", "fraction"; which steps phases end at: "torch",
 *                                        pct_start·T − 1 and T − 1; "fraction", pct_start·T and T
 *      base_momentum           number  default 0.85; [0, 1); momentum at the peak of the rate
 *      max_momentum            number  default 0.95; [0, 1); momentum at both ends */
#define LW_SCHEDULE_ONE_CYCLE_MOMENTUM "one_cycle_momentum"

/** Up a short straight line, and down a long one: f = (1 + p·(ratio − 1))/ratio
 *  Source: Howard and Ruder 2018, arXiv:1801.06146; AllenNLP.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end
 *      cut_frac                number  default 0.1; (0, 1]; share of the steps up
 *      ratio                   number  default 32; [1, inf); the peak over both ends */
#define LW_SCHEDULE_SLANTED_TRIANGULAR "slanted_triangular"

/** Up, level, and down: f: 0 → 1 over W, 1, 1 → 0 over the last D
 *  Source: Hu et al. 2024, arXiv:2404.06395; Hugging Face warmup_stable_decay.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end, warm-up included
 *      warmup_steps            number  default 0; [0, 2^53]; W: steps of warm-up
 *      min_lr                  number  default 0; [0, inf); the floor, as a rate
 *      floor                   choice  default scaled; "scaled", "absolute", "relative"; what min_lr is for a layer:
 *                                        "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate
 *      min_factor              number  default 0; [0, 1]; the floor as a share of the layer's own rate; in place of
 *                                        min_lr
 *      decay_steps             number  no default; [1, 2^53]; D: steps down, the last of total_steps
 *      warmup                  choice  default linear; "linear", "cosine", "one_minus_sqrt"; the curve up
 *      decay                   choice  default linear; "linear", "cosine", "one_minus_sqrt"; the curve down
 *      cycles                  number  default 0.5; (0, inf); waves of the cosine down; 0.5 is down once */
#define LW_SCHEDULE_WARMUP_STABLE_DECAY "warmup_stable_decay"
#define LW_SCHEDULE_WSD LW_SCHEDULE_WARMUP_STABLE_DECAY

/** Down a hyperbolic tangent: f = ½(1 − tanh(lower·(1 − p) + upper·p))
 *  Source: Hsueh et al. 2018, arXiv:1806.01593; timm tanh.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end, warm-up included
 *      warmup_steps            number  default 0; [0, 2^53]; W: steps of warm-up
 *      min_lr                  number  default 0; [0, inf); the floor, as a rate
 *      floor                   choice  default scaled; "scaled", "absolute", "relative"; what min_lr is for a layer:
 *                                        "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate
 *      min_factor              number  default 0; [0, 1]; the floor as a share of the layer's own rate; in place of
 *                                        min_lr
 *      lower                   number  default -7; (-inf, inf); argument of the tangent at the start
 *      upper                   number  default 3; (-inf, inf); argument of the tangent at the end, above lower */
#define LW_SCHEDULE_TANH "tanh"

/** Up and down, again and again: f = lowest + (1 − lowest)·height(t)
 *  Source: Smith 2017, arXiv:1506.01186; torch CyclicLR.
 *
 *      step_size_up            number  default 2000; [1, 2^53]; steps up
 *      step_size_down          number  default 0; [0, 2^53]; steps down; 0: as many as up
 *      mode                    choice  default triangular; "triangular", "triangular2", "exp_range"; how heights
 *                                        change: "triangular", not; "triangular2", by half each cycle; "exp_range",
 *                                        by γ each step
 *      gamma                   number  default 1; (0, 1]; γ: the factor of "exp_range"
 *      lowest                  number  default 0.1; [0, 1]; the factor between waves */
#define LW_SCHEDULE_CYCLIC "cyclic"

/** The momentum that goes with cyclic: value = max_momentum − (max_momentum − base_momentum)·height(t)
 *  Source: torch CyclicLR.
 *
 *      step_size_up            number  default 2000; [1, 2^53]; steps up
 *      step_size_down          number  default 0; [0, 2^53]; steps down; 0: as many as up
 *      mode                    choice  default triangular; "triangular", "triangular2", "exp_range"; how heights
 *                                        change: "triangular", not; "triangular2", by half each cycle; "exp_range",
 *                                        by γ each step
 *      gamma                   number  default 1; (0, 1]; γ: the factor of "exp_range"
 *      base_momentum           number  default 0.8; [0, 1); momentum at the peak of the rate
 *      max_momentum            number  default 0.9; [0, 1); momentum between waves */
#define LW_SCHEDULE_CYCLIC_MOMENTUM "cyclic_momentum"

/** Level, then down half a cosine: f = 1, from pct_start ½(1 + cos(π(p − pct_start)/(1 − pct_start)))
 *  Source: fastai fit_flat_cos.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end, warm-up included
 *      warmup_steps            number  default 0; [0, 2^53]; W: steps of warm-up
 *      min_lr                  number  default 0; [0, inf); the floor, as a rate
 *      floor                   choice  default scaled; "scaled", "absolute", "relative"; what min_lr is for a layer:
 *                                        "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate
 *      min_factor              number  default 0; [0, 1]; the floor as a share of the layer's own rate; in place of
 *                                        min_lr
 *      pct_start               number  default 0.75; [0, 1]; share of the steps that are level */
#define LW_SCHEDULE_FLAT_COSINE "flat_cosine"

/** Factors at given steps: f = factorᵢ from stepᵢ, or on the way to factorᵢ₊₁
 *  Source: optax piecewise_constant_schedule and piecewise_interpolate_schedule.
 *  Values: pairs of a step and its factor, in the order of their steps.
 *
 *      interpolation           choice  default none; "none", "linear", "cosine"; the way from one point to the next:
 *                                        "none", a jump; "linear" or "cosine" */
#define LW_SCHEDULE_PIECEWISE "piecewise"

/** A factor for each step, from a list: f = factors[min(t, n − 1)]
 *  Source: torch LambdaLR, with its values listed.
 *  Values: factors: one for each step; the last stays. */
#define LW_SCHEDULE_FACTOR_TABLE "factor_table"
#define LW_SCHEDULE_TABLE LW_SCHEDULE_FACTOR_TABLE

/** Lower when a metric has stopped improving: f = max(factor^reductions, min_factor)
 *  Source: torch ReduceLROnPlateau.
 *
 *      mode                    choice  default min; "min", "max"; which metrics are good: "min", low ones, or "max",
 *                                        high ones
 *      factor                  number  default 0.1; (0, 1]; the factor of each reduction; below 1
 *      patience                number  default 10; [0, 2^53]; bad metrics in a row that are borne
 *      threshold               number  default 0.0001; [0, inf); how much better a metric must be to count
 *      threshold_mode          choice  default rel; "rel", "abs", "torch_rel"; what threshold is: "rel", a share of
 *                                        the best's magnitude; "abs", a difference; "torch_rel", a share of the best
 *                                        with its sign, which is torch's "rel"
 *      cooldown                number  default 0; [0, 2^53]; metrics after a reduction that are not counted as bad
 *      min_factor              number  default 0; [0, 1]; no factor is lower */
#define LW_SCHEDULE_REDUCE_ON_PLATEAU "reduce_on_plateau"

/** A rise to what follows: f = w((t + count_from)/steps)·part(0), then part(t − steps)
 *  Source: Goyal et al. 2017, arXiv:1706.02677; torch LinearLR and ConstantLR, timm, DeepSpeed WarmupLR.
 *  Parts: the schedule that follows, if any.
 *
 *      steps                   number  no default; [1, 2^53]; steps of warm-up
 *      shape                   choice  default linear; "linear", "constant", "cosine", "exponential", "sqrt",
 *                                        "one_minus_sqrt", "log"; how the factor rises
 *      start                   number  default 0; [0, 1]; where it starts; above 0 for "exponential"
 *      count_from              number  default 0; [0, 1]; the number of the first step; with 1 the last step of the
 *                                        warm-up is at 1
 *      overlap                 flag    default 0; what follows counts its steps from the start of the warm-up */
#define LW_SCHEDULE_WARMUP "warmup"

/** Schedules one after another: f(t) = fᵢ(t − milestoneᵢ₋₁)
 *  Source: torch SequentialLR, optax join_schedules.
 *  Values: milestones: the steps at which the second and later schedules begin, rising.
 *  Parts: two schedules or more. */
#define LW_SCHEDULE_SEQUENTIAL "sequential"

/** Schedules at once, each on what those before it made: f = f₁·f₂·…
 *  Source: torch ChainedScheduler.
 *  Parts: two schedules or more. */
#define LW_SCHEDULE_PRODUCT "product"

/* ---- Freezing plans ------------------------------------------------------------------------------------------------ */

/** From the top, one layer more at each stage: active from max(0, layers above − (first − 1))·stage
 *  Source: Howard and Ruder 2018, arXiv:1801.06146.
 *
 *      every                   number  no default; [1, 2^20]; length of a stage, in epochs
 *      steps_per_epoch         number  default 1; [1, 2^20]; steps of an epoch; 1 counts stages in steps
 *      first                   number  default 1; [1, 2^20]; layers that train from the start
 *      train_norms             flag    default 0; layers with the role norm always train */
#define LW_FREEZE_PLAN_GRADUAL_UNFREEZING "gradual_unfreezing"

/** Each layer by itself, the top one first, then from the bottom, and then all: active in one stage, and from stage n
 *  on
 *  Source: Felbo et al. 2017, arXiv:1708.00524.
 *
 *      every                   number  no default; [1, 2^20]; length of a stage, in epochs
 *      steps_per_epoch         number  default 1; [1, 2^20]; steps of an epoch; 1 counts stages in steps
 *      train_norms             flag    default 0; layers with the role norm always train */
#define LW_FREEZE_PLAN_CHAIN_THAW "chain_thaw"

/** Layers anneal to zero and freeze one after another, from the input: tᵢ = φ(t₀ + (1−t₀)·i/(n−1)); rate × ½(1 +
 *  cos(πt/(tᵢT))), frozen from tᵢT
 *  Source: Brock et al. 2017, arXiv:1706.04983.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end
 *      start                   number  default 0.8; (0, 1]; t₀: share of the steps that the first layer trains,
 *                                        before φ
 *      spacing                 choice  default cubic; "linear", "squared", "cubic"; φ
 *      scaled                  flag    default 1; rates × 1/tᵢ, so that all layers move as far
 *      train_norms             flag    default 0; layers with the role norm always train */
#define LW_FREEZE_PLAN_FREEZE_OUT "freeze_out"

/** Layers freeze one after another, from the input; the last never: frozen layers = ⌊level·(t/T − start)/(1 −
 *  start)·(n − 1)⌋
 *  Source: Composer LayerFreezing.
 *
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end
 *      start                   number  default 0.5; [0, 1); share of the steps after which the first layer may freeze
 *      level                   number  default 1; [0, 1]; share of the layers that are frozen in the end
 *      train_norms             flag    default 0; layers with the role norm always train */
#define LW_FREEZE_PLAN_LAYER_FREEZING "layer_freezing"

/** Steps at which layers thaw and freeze, by name or pattern: active from unfreeze_at on, until freeze_at
 *  Source: Burn's freeze_group, fastai's freeze_to, Lightning's BackboneFinetuning, as a plan.
 *  Parts: layers: match, unfreeze_at, freeze_at.
 *
 *      syntax                  choice  default exact; "exact", "glob", "regex"; how patterns are written: "exact",
 *                                        "glob" or "regex"
 *      unused                  choice  default error; "error", "ignore"; what a pattern that matches no layer is: an
 *                                        "error", or something to "ignore"
 *      unmatched               choice  default keep; "error", "keep"; what a layer that no pattern matches is: an
 *                                        "error", or one to "keep" as it is
 *      ambiguous               choice  default error; "error", "first", "last"; what a layer that several patterns
 *                                        match is: an "error", or one for the "first" or "last" of them, in the order
 *                                        of the arguments */
#define LW_FREEZE_PLAN_FREEZE_AT "freeze_at"

/** Few blocks train at a time, drawn at each turn; the first layer, norms and the head always train: active at turn
 *  ⌊t/every⌋ if drawn
 *  Source: Pan et al. 2024, arXiv:2403.17919; LMFlow lisa_trainer.
 *
 *      blocks                  number  default 2; [1, 2^20]; how many blocks train at a time
 *      every                   number  default 20; [1, 2^53]; steps of a turn
 *      seed                    number  default 0; [0, 2^53]; of the draws
 *      states                  choice  default keep; "keep", "clear"; the states of a layer at rest: "keep" or
 *                                        "clear" */
#define LW_FREEZE_PLAN_LISA "lisa"

/** One block of layers trains at a time, and its moments begin again at each turn: active at turns ⌊t/every⌋ of its
 *  block
 *  Source: Luo, Yu, Li 2024, arXiv:2404.02827; LLaMA-Factory.
 *
 *      layers                  number  default 1; [1, 2^20]; depths of a block
 *      every                   number  default 50; [1, 2^53]; steps of a turn
 *      order                   choice  default ascending; "ascending", "descending", "random"; of the blocks:
 *                                        "ascending" from the input, "descending" or "random"
 *      seed                    number  default 0; [0, 2^53]; of the random order
 *      ends                    choice  default turns; "train", "turns", "frozen"; what layers of other roles than
 *                                        block do: always "train", take "turns" too, or stay "frozen"
 *      states                  choice  default clear; "keep", "clear"; the states of a layer at rest: "keep" or
 *                                        "clear" */
#define LW_FREEZE_PLAN_BADAM "badam"

/** Each step trains the next few layers, in a round through all of them: active at turns ⌊t/every⌋ of its block
 *  Source: Liu et al. 2024, arXiv:2401.15207.
 *
 *      layers                  number  default 1; [1, 2^20]; depths of a block
 *      every                   number  default 1; [1, 2^53]; steps of a turn
 *      order                   choice  default ascending; "ascending", "descending", "random"; of the blocks:
 *                                        "ascending" from the input, "descending" or "random"
 *      seed                    number  default 0; [0, 2^53]; of the random order
 *      ends                    choice  default turns; "train", "turns", "frozen"; what layers of other roles than
 *                                        block do: always "train", take "turns" too, or stay "frozen"
 *      states                  choice  default keep; "keep", "clear"; the states of a layer at rest: "keep" or
 *                                        "clear" */
#define LW_FREEZE_PLAN_HIFT "hift"

/** Layers freeze for good from the input on, as far as their gradients have settled: frozen: the first layers with
 *  |a′ − a|/a′ below the quantile, a = Σ‖g‖ of an interval
 *  Source: Liu et al. 2021, arXiv:2102.01386, from norms in place of summed gradients.
 *
 *      every                   number  no default; [1, 2^53]; steps of an interval
 *      quantile                number  default 0.5; [0, 1]; which of the changes of all layers that train is the
 *                                        limit
 *      norm                    choice  default l2; "l2", "l1"; the norm that is added up: "l2" or "l1" */
#define LW_FREEZE_PLAN_AUTO_FREEZE "auto_freeze"

/** Layers freeze for good once they hardly change, as measured at every step: frozen once EMA(‖Δw‖/√n) < threshold,
 *  from start·T on
 *  Source: Wen et al. 2025, arXiv:2509.01842, whose measure is a sum that grows with the size.
 *
 *      threshold               number  no default; (0, inf); a layer whose average is lower freezes
 *      total_steps             number  no default; [1, 2^53]; T: steps to the end
 *      start                   number  default 0.55; [0, 1]; share of the steps before which no layer freezes
 *      measure                 choice  default update; "update", "gradient"; what is measured: the "update" or the
 *                                        "gradient"
 *      average                 number  default 0.9; [0, 1); share of the average that a step keeps; 0: the last value
 *                                        alone
 *      norm                    choice  default rms; "rms", "l1"; a layer's value: the root mean square "rms", or the
 *                                        sum of magnitudes "l1" */
#define LW_FREEZE_PLAN_GRADES "grades"

/* ---- Keys ---------------------------------------------------------------------------------------------------------- */

#define LW_KEY_ADAMW_BETA1 "adamw_beta1"
#define LW_KEY_ADAMW_BETA2 "adamw_beta2"
#define LW_KEY_ADAMW_EPS "adamw_eps"
#define LW_KEY_ADAMW_LR_SCALE "adamw_lr_scale"
#define LW_KEY_ADAPT "adapt"
#define LW_KEY_ADJUST_LR_FN "adjust_lr_fn"
#define LW_KEY_ALPHA "alpha"
#define LW_KEY_AMBIGUOUS "ambiguous"
#define LW_KEY_AMPLITUDE "amplitude"
#define LW_KEY_AMSGRAD "amsgrad"
#define LW_KEY_ANNEAL "anneal"
#define LW_KEY_AVERAGE "average"
#define LW_KEY_AVERAGE_DECAY "average_decay"
#define LW_KEY_AVERAGE_FIRST "average_first"
#define LW_KEY_AVERAGE_GAMMA "average_gamma"
#define LW_KEY_AVERAGE_PERIOD "average_period"
#define LW_KEY_AVERAGE_START "average_start"
#define LW_KEY_AVERAGE_WARMUP "average_warmup"
#define LW_KEY_AXES "axes"
#define LW_KEY_BASE_MOMENTUM "base_momentum"
#define LW_KEY_BETA "beta"
#define LW_KEY_BETA1 "beta1"
#define LW_KEY_BETA1_1D "beta1_1d"
#define LW_KEY_BETA2 "beta2"
#define LW_KEY_BETA2_1D "beta2_1d"
#define LW_KEY_BETA2_DECAY "beta2_decay"
#define LW_KEY_BETA3 "beta3"
#define LW_KEY_BIAS_CORRECTION "bias_correction"
#define LW_KEY_BLOCK_ROWS "block_rows"
#define LW_KEY_BLOCKS "blocks"
#define LW_KEY_BUMP "bump"
#define LW_KEY_CAUTIOUS "cautious"
#define LW_KEY_CENTERED "centered"
#define LW_KEY_CENTRALIZE_GRADIENTS "centralize_gradients"
#define LW_KEY_CLIP "clip"
#define LW_KEY_CLIP_GLOBAL_NORM "clip_global_norm"
#define LW_KEY_CLIP_LAYER_NORM "clip_layer_norm"
#define LW_KEY_CLIP_POWER "clip_power"
#define LW_KEY_CLIP_THRESHOLD "clip_threshold"
#define LW_KEY_CLIP_UNIT_EPS "clip_unit_eps"
#define LW_KEY_CLIP_UNIT_RATIO "clip_unit_ratio"
#define LW_KEY_CLIP_VALUE "clip_value"
#define LW_KEY_CONVENTION "convention"
#define LW_KEY_COOLDOWN "cooldown"
#define LW_KEY_CORRECT_FIRST "correct_first"
#define LW_KEY_CORRECTED_WEIGHT_DECAY "corrected_weight_decay"
#define LW_KEY_COUNT_FROM "count_from"
#define LW_KEY_CUT_FRAC "cut_frac"
#define LW_KEY_CYCLE_LIMIT "cycle_limit"
#define LW_KEY_CYCLE_MULT "cycle_mult"
#define LW_KEY_CYCLE_STEPS "cycle_steps"
#define LW_KEY_CYCLES "cycles"
#define LW_KEY_D "d"
#define LW_KEY_D0 "d0"
#define LW_KEY_D_COEF "d_coef"
#define LW_KEY_DAMPEN_FIRST "dampen_first"
#define LW_KEY_DAMPENING "dampening"
#define LW_KEY_DECAY "decay"
#define LW_KEY_DECAY_FOLLOWS "decay_follows"
#define LW_KEY_DECAY_STEPS "decay_steps"
#define LW_KEY_DECOUPLED_DECAY "decoupled_decay"
#define LW_KEY_DECOUPLED_WEIGHT_DECAY "decoupled_weight_decay"
#define LW_KEY_DELAY "delay"
#define LW_KEY_DEPTH "depth"
#define LW_KEY_DIFFERENCE_WEIGHT "difference_weight"
#define LW_KEY_DIRECTION "direction"
#define LW_KEY_DISTANCE_SCOPE "distance_scope"
#define LW_KEY_DIV_FACTOR "div_factor"
#define LW_KEY_DIVIDE "divide"
#define LW_KEY_DRY_RUN "dry_run"
#define LW_KEY_EMBEDDING "embedding"
#define LW_KEY_EMBEDDING_MATCH "embedding_match"
#define LW_KEY_EMPTY_STEP "empty_step"
#define LW_KEY_ENDS "ends"
#define LW_KEY_EPS "eps"
#define LW_KEY_EPS1 "eps1"
#define LW_KEY_EPS2 "eps2"
#define LW_KEY_EPS_BEFORE_CORRECTION "eps_before_correction"
#define LW_KEY_EPS_IN_DENOMINATOR "eps_in_denominator"
#define LW_KEY_EPS_IN_SQRT "eps_in_sqrt"
#define LW_KEY_EPS_POSITION "eps_position"
#define LW_KEY_EPS_ROOT "eps_root"
#define LW_KEY_ESTIMATE_SCOPE "estimate_scope"
#define LW_KEY_ETA1 "eta1"
#define LW_KEY_ETA2 "eta2"
#define LW_KEY_EVERY "every"
#define LW_KEY_EXPONENT "exponent"
#define LW_KEY_FACTOR "factor"
#define LW_KEY_FAMILY "family"
#define LW_KEY_FEED_FORWARD "feed_forward"
#define LW_KEY_FEED_FORWARD_MATCH "feed_forward_match"
#define LW_KEY_FINAL_DIV_FACTOR "final_div_factor"
#define LW_KEY_FIRST "first"
#define LW_KEY_FLOOR "floor"
#define LW_KEY_FORM "form"
#define LW_KEY_FROZEN "frozen"
#define LW_KEY_GAMMA "gamma"
#define LW_KEY_GRAD_AVERAGING "grad_averaging"
#define LW_KEY_GRADIENT_NOISE "gradient_noise"
#define LW_KEY_GRADIENT_NOISE_DECAY "gradient_noise_decay"
#define LW_KEY_GRADIENT_NOISE_SEED "gradient_noise_seed"
#define LW_KEY_GROWTH_RATE "growth_rate"
#define LW_KEY_HEAD_SCALE "head_scale"
#define LW_KEY_HIGHEST "highest"
#define LW_KEY_INIT_ESTIM_SQ_DIST "init_estim_sq_dist"
#define LW_KEY_INIT_ETA "init_eta"
#define LW_KEY_INIT_ZERO "init_zero"
#define LW_KEY_INITIAL_ACCUMULATOR "initial_accumulator"
#define LW_KEY_INITIAL_ACCUMULATOR_VALUE "initial_accumulator_value"
#define LW_KEY_INITIAL_SQUARE_AVG "initial_square_avg"
#define LW_KEY_INTERPOLATION "interpolation"
#define LW_KEY_K_DECAY "k_decay"
#define LW_KEY_LAMBD "lambd"
#define LW_KEY_LAYER_SCALE "layer_scale"
#define LW_KEY_LAYERS "layers"
#define LW_KEY_LAYOUT "layout"
#define LW_KEY_LB "lb"
#define LW_KEY_LEAST_RANK "least_rank"
#define LW_KEY_LEVEL "level"
#define LW_KEY_LOOKAHEAD_PERIOD "lookahead_period"
#define LW_KEY_LOOKAHEAD_RATE "lookahead_rate"
#define LW_KEY_LOWER "lower"
#define LW_KEY_LOWEST "lowest"
#define LW_KEY_LR "lr"
#define LW_KEY_LR_1D_FACTOR "lr_1d_factor"
#define LW_KEY_LR_DECAY "lr_decay"
#define LW_KEY_LR_IN_MOMENTUM "lr_in_momentum"
#define LW_KEY_LR_POSITION "lr_position"
#define LW_KEY_MAP "map"
#define LW_KEY_MARS_TYPE "mars_type"
#define LW_KEY_MATCH "match"
#define LW_KEY_MAX_MOMENTUM "max_momentum"
#define LW_KEY_MAX_RANK "max_rank"
#define LW_KEY_MAX_SCALE "max_scale"
#define LW_KEY_MAXIMIZE "maximize"
#define LW_KEY_MEASURE "measure"
#define LW_KEY_MEMORY "memory"
#define LW_KEY_MIN_FACTOR "min_factor"
#define LW_KEY_MIN_LR "min_lr"
#define LW_KEY_MIN_NORM "min_norm"
#define LW_KEY_MIN_SCALE "min_scale"
#define LW_KEY_MODE "mode"
#define LW_KEY_MODEL_SIZE "model_size"
#define LW_KEY_MOMENT "moment"
#define LW_KEY_MOMENTUM "momentum"
#define LW_KEY_MOMENTUM_DECAY "momentum_decay"
#define LW_KEY_MOMENTUM_SCHEDULE "momentum_schedule"
#define LW_KEY_MONOTONE "monotone"
#define LW_KEY_NESTEROV "nesterov"
#define LW_KEY_NO_PROX "no_prox"
#define LW_KEY_NONFINITE "nonfinite"
#define LW_KEY_NORM "norm"
#define LW_KEY_NORM_EPS "norm_eps"
#define LW_KEY_NORM_MATCH "norm_match"
#define LW_KEY_NORM_SCOPE "norm_scope"
#define LW_KEY_NORMALIZE_GRAD "normalize_grad"
#define LW_KEY_NS_COEFFICIENTS1 "ns_coefficients1"
#define LW_KEY_NS_COEFFICIENTS2 "ns_coefficients2"
#define LW_KEY_NS_COEFFICIENTS3 "ns_coefficients3"
#define LW_KEY_NS_PRECISION "ns_precision"
#define LW_KEY_NS_SCHEDULE "ns_schedule"
#define LW_KEY_NS_STEPS "ns_steps"
#define LW_KEY_OF "of"
#define LW_KEY_OPTIMIZE_1D "optimize_1d"
#define LW_KEY_ORDER "order"
#define LW_KEY_OTHERS "others"
#define LW_KEY_OVERLAP "overlap"
#define LW_KEY_PART_OF "part_of"
#define LW_KEY_PATIENCE "patience"
#define LW_KEY_PCT_START "pct_start"
#define LW_KEY_PERIOD "period"
#define LW_KEY_POWER "power"
#define LW_KEY_QUANTILE "quantile"
#define LW_KEY_QUERY_KEY "query_key"
#define LW_KEY_QUERY_KEY_MATCH "query_key_match"
#define LW_KEY_R "r"
#define LW_KEY_RAMP "ramp"
#define LW_KEY_RATE "rate"
#define LW_KEY_RATIO "ratio"
#define LW_KEY_RATIO_EPS "ratio_eps"
#define LW_KEY_RATIO_MAX "ratio_max"
#define LW_KEY_RATIO_MIN "ratio_min"
#define LW_KEY_REPS_REL "reps_rel"
#define LW_KEY_RHO "rho"
#define LW_KEY_ROLE "role"
#define LW_KEY_RULE "rule"
#define LW_KEY_SAFEGUARD_WARMUP "safeguard_warmup"
#define LW_KEY_SCALE "scale"
#define LW_KEY_SCALE_PARAMETER "scale_parameter"
#define LW_KEY_SCALED "scaled"
#define LW_KEY_SEED "seed"
#define LW_KEY_SHAPE "shape"
#define LW_KEY_SILENT_SGD_PHASE "silent_sgd_phase"
#define LW_KEY_SKIP_ZERO_GRADIENT "skip_zero_gradient"
#define LW_KEY_SLICE_P "slice_p"
#define LW_KEY_SPACING "spacing"
#define LW_KEY_STAIRCASE "staircase"
#define LW_KEY_START "start"
#define LW_KEY_START_SCALE "start_scale"
#define LW_KEY_STATES "states"
#define LW_KEY_STEEPNESS "steepness"
#define LW_KEY_STEP_SIZE "step_size"
#define LW_KEY_STEP_SIZE1 "step_size1"
#define LW_KEY_STEP_SIZE2 "step_size2"
#define LW_KEY_STEP_SIZE_DOWN "step_size_down"
#define LW_KEY_STEP_SIZE_UP "step_size_up"
#define LW_KEY_STEPS "steps"
#define LW_KEY_STEPS_PER_EPOCH "steps_per_epoch"
#define LW_KEY_SYNTAX "syntax"
#define LW_KEY_T0 "t0"
#define LW_KEY_T_ALPHA "t_alpha"
#define LW_KEY_T_BETA3 "t_beta3"
#define LW_KEY_TELEMETRY "telemetry"
#define LW_KEY_THREADS "threads"
#define LW_KEY_THREE_PHASE "three_phase"
#define LW_KEY_THRESHOLD "threshold"
#define LW_KEY_THRESHOLD_DECAY "threshold_decay"
#define LW_KEY_THRESHOLD_MODE "threshold_mode"
#define LW_KEY_TIMESCALE "timescale"
#define LW_KEY_TIMING "timing"
#define LW_KEY_TOTAL_STEPS "total_steps"
#define LW_KEY_TOWER "tower"
#define LW_KEY_TRAIN_NORMS "train_norms"
#define LW_KEY_TRUST "trust"
#define LW_KEY_TRUST_CLIP "trust_clip"
#define LW_KEY_TRUST_COEFFICIENT "trust_coefficient"
#define LW_KEY_TRUST_RATIO "trust_ratio"
#define LW_KEY_TRUST_RATIO_SCOPE "trust_ratio_scope"
#define LW_KEY_UNIT "unit"
#define LW_KEY_UNMATCHED "unmatched"
#define LW_KEY_UNUSED "unused"
#define LW_KEY_UPPER "upper"
#define LW_KEY_USE_BIAS_CORRECTION "use_bias_correction"
#define LW_KEY_USE_FSTAR "use_fstar"
#define LW_KEY_VALUE_OUTPUT "value_output"
#define LW_KEY_VALUE_OUTPUT_MATCH "value_output_match"
#define LW_KEY_VARIANT "variant"
#define LW_KEY_VECTORS "vectors"
#define LW_KEY_WARMUP "warmup"
#define LW_KEY_WARMUP_STEPS "warmup_steps"
#define LW_KEY_WEIGHT_DECAY "weight_decay"
#define LW_KEY_WEIGHT_DECAY_1D "weight_decay_1d"
#define LW_KEY_WEIGHT_DECAY_EXCLUDE_1D "weight_decay_exclude_1d"
#define LW_KEY_WEIGHT_LR_POWER "weight_lr_power"
#define LW_KEY_WEIGHT_NORM_MAX "weight_norm_max"
#define LW_KEY_WIDTH "width"

/* ---- Choices and presets ------------------------------------------------------------------------------------------- */

#define LW_CHOICE_ABS "abs"
#define LW_CHOICE_ABSOLUTE "absolute"
#define LW_CHOICE_ADAM "adam"
#define LW_CHOICE_ADAMW "adamw"
#define LW_CHOICE_ADDED "added"
#define LW_CHOICE_ALL "all"
#define LW_CHOICE_ALPHA "alpha"
#define LW_CHOICE_APEX "apex"
#define LW_CHOICE_ASCENDING "ascending"
#define LW_CHOICE_BEIT "beit"
#define LW_CHOICE_BFLOAT16 "bfloat16"
#define LW_CHOICE_BOTH "both"
#define LW_CHOICE_CAPPED "capped"
#define LW_CHOICE_CLEAR "clear"
#define LW_CHOICE_CONSTANT "constant"
#define LW_CHOICE_CONSTANT_PRESENT "constant_present"
#define LW_CHOICE_COSINE "cosine"
#define LW_CHOICE_CUBIC "cubic"
#define LW_CHOICE_DECAY "decay"
#define LW_CHOICE_DECAYED "decayed"
#define LW_CHOICE_DECOUPLED "decoupled"
#define LW_CHOICE_DENOMINATOR "denominator"
#define LW_CHOICE_DEPTH "depth"
#define LW_CHOICE_DESCENDING "descending"
#define LW_CHOICE_ELECTRA "electra"
#define LW_CHOICE_ERROR "error"
#define LW_CHOICE_EXACT "exact"
#define LW_CHOICE_EXP_RANGE "exp_range"
#define LW_CHOICE_EXPONENTIAL "exponential"
#define LW_CHOICE_FIRST "first"
#define LW_CHOICE_FLOOR "floor"
#define LW_CHOICE_FRACTION "fraction"
#define LW_CHOICE_FROZEN "frozen"
#define LW_CHOICE_FULL "full"
#define LW_CHOICE_GLOB "glob"
#define LW_CHOICE_GLUON "gluon"
#define LW_CHOICE_GRADIENT "gradient"
#define LW_CHOICE_HIGHEST "highest"
#define LW_CHOICE_IGNORE "ignore"
#define LW_CHOICE_IN_OUT "in_out"
#define LW_CHOICE_INPUT "input"
#define LW_CHOICE_INSIDE "inside"
#define LW_CHOICE_KEEP "keep"
#define LW_CHOICE_KERAS "keras"
#define LW_CHOICE_L1 "l1"
#define LW_CHOICE_L2 "l2"
#define LW_CHOICE_LAST "last"
#define LW_CHOICE_LAYER "layer"
#define LW_CHOICE_LINEAR "linear"
#define LW_CHOICE_LION "lion"
#define LW_CHOICE_LOG "log"
#define LW_CHOICE_LR "lr"
#define LW_CHOICE_MAE "mae"
#define LW_CHOICE_MATCH_RMS_ADAMW "match_rms_adamw"
#define LW_CHOICE_MATRICES "matrices"
#define LW_CHOICE_MAX "max"
#define LW_CHOICE_MEASURED "measured"
#define LW_CHOICE_MIN "min"
#define LW_CHOICE_MOMENTS "moments"
#define LW_CHOICE_NONE "none"
#define LW_CHOICE_NORMALIZED "normalized"
#define LW_CHOICE_ONE "one"
#define LW_CHOICE_ONE_MINUS_SQRT "one_minus_sqrt"
#define LW_CHOICE_OPTAX "optax"
#define LW_CHOICE_OPTIMIZER "optimizer"
#define LW_CHOICE_ORIGINAL "original"
#define LW_CHOICE_OUT_IN "out_in"
#define LW_CHOICE_OUTPUT "output"
#define LW_CHOICE_OUTSIDE "outside"
#define LW_CHOICE_PAPER "paper"
#define LW_CHOICE_POLAR_EXPRESS "polar_express"
#define LW_CHOICE_PUBLISHED "published"
#define LW_CHOICE_PYTORCH_OPTIMIZER "pytorch_optimizer"
#define LW_CHOICE_QUINTIC "quintic"
#define LW_CHOICE_RANDOM "random"
#define LW_CHOICE_RATE "rate"
#define LW_CHOICE_RAW "raw"
#define LW_CHOICE_REGEX "regex"
#define LW_CHOICE_REL "rel"
#define LW_CHOICE_RELATIVE "relative"
#define LW_CHOICE_RISING "rising"
#define LW_CHOICE_RMS "rms"
#define LW_CHOICE_SCALED "scaled"
#define LW_CHOICE_SEPARATE "separate"
#define LW_CHOICE_SGD "sgd"
#define LW_CHOICE_SHARE "share"
#define LW_CHOICE_SIGMOID "sigmoid"
#define LW_CHOICE_SPECTRAL "spectral"
#define LW_CHOICE_SPECTRAL_NORM "spectral_norm"
#define LW_CHOICE_SQRT "sqrt"
#define LW_CHOICE_SQUARED "squared"
#define LW_CHOICE_STABLE_RANK "stable_rank"
#define LW_CHOICE_STEP "step"
#define LW_CHOICE_STEP_SIZE "step_size"
#define LW_CHOICE_TENSOR "tensor"
#define LW_CHOICE_TIMM "timm"
#define LW_CHOICE_TORCH "torch"
#define LW_CHOICE_TORCH_REL "torch_rel"
#define LW_CHOICE_TOWER "tower"
#define LW_CHOICE_TRAIN "train"
#define LW_CHOICE_TRANSFORMERS "transformers"
#define LW_CHOICE_TRIANGULAR "triangular"
#define LW_CHOICE_TRIANGULAR2 "triangular2"
#define LW_CHOICE_TURNS "turns"
#define LW_CHOICE_UPDATE "update"
#define LW_CHOICE_WARMUP "warmup"

#endif
