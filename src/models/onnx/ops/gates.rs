//! The functions between the gates of recurrent layers.

use burn::tensor::{Tensor, activation};

use super::{Call, Outcome};

/// A function between the gates, with its two parameters.
#[derive(Clone, Copy)]
pub(super) struct Activation {
    name: &'static str,
    alpha: f32,
    beta: f32,
}

/// Names, in lower case, with the parameters they have where none are stated.
const ACTIVATIONS: [Activation; 10] = [
    Activation { name: "affine", alpha: 1.0, beta: 0.0 },
    Activation { name: "elu", alpha: 1.0, beta: 0.0 },
    Activation { name: "hardsigmoid", alpha: 0.2, beta: 0.5 },
    Activation { name: "leakyrelu", alpha: 0.01, beta: 0.0 },
    Activation { name: "relu", alpha: 0.0, beta: 0.0 },
    Activation { name: "scaledtanh", alpha: 1.0, beta: 1.0 },
    Activation { name: "sigmoid", alpha: 0.0, beta: 0.0 },
    Activation { name: "softplus", alpha: 0.0, beta: 0.0 },
    Activation { name: "softsign", alpha: 0.0, beta: 0.0 },
    Activation { name: "tanh", alpha: 0.0, beta: 0.0 },
];

impl Activation {
    pub(super) fn apply(self, x: Tensor<2>) -> Tensor<2> {
        let (alpha, beta) = (self.alpha, self.beta);
        match self.name {
            "affine" => x * alpha + beta,
            "elu" => activation::elu(x, alpha.into()),
            "hardsigmoid" => activation::hard_sigmoid(x, alpha.into(), beta.into()),
            "leakyrelu" => activation::leaky_relu(x, alpha.into()),
            "relu" => activation::relu(x),
            "scaledtanh" => (x * beta).tanh() * alpha,
            "softplus" => activation::softplus(x, 1.0),
            "softsign" => x.clone() / (x.abs() + 1.0),
            "tanh" => x.tanh(),
            _ => activation::sigmoid(x),
        }
    }
}

/// The activations of all directions, `default` for one where none are stated.
pub(super) fn activations(
    call: &Call<'_>,
    default: &[&str],
    directions: usize,
) -> Outcome<Vec<Activation>> {
    let stated: Vec<String> = match call.attribute("activations") {
        Some(attribute) => {
            let names = attribute.strings.iter();
            names.map(|name| String::from_utf8_lossy(name).to_lowercase()).collect()
        }
        None => default.repeat(directions).into_iter().map(str::to_owned).collect(),
    };
    if stated.len() != default.len() * directions {
        return Err(format!("it states {} activations", stated.len()));
    }
    let numbers = |name: &str| call.attribute(name).map_or(&[][..], |attribute| &attribute.floats);
    // Only functions that have a parameter take one from the list.
    let (mut alphas, mut betas) =
        (numbers("activation_alpha").iter(), numbers("activation_beta").iter());
    let find = |name: &String| {
        let known = ACTIVATIONS.iter().find(|known| known.name == name);
        let mut found = *known.ok_or_else(|| format!("activation {name} is not supported"))?;
        if matches!(found.name, "affine" | "elu" | "hardsigmoid" | "leakyrelu" | "scaledtanh") {
            found.alpha = alphas.next().copied().unwrap_or(found.alpha);
        }
        if matches!(found.name, "affine" | "hardsigmoid" | "scaledtanh") {
            found.beta = betas.next().copied().unwrap_or(found.beta);
        }
        Ok(found)
    };
    stated.iter().map(find).collect()
}
