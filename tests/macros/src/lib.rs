//! `#[test]` of the test binary `it`, whose harness also counts tests that can't run here.

use proc_macro::{TokenStream, TokenTree};

/// Registers a function without arguments as a test, under its module and name.
#[proc_macro_attribute]
pub fn test(_arguments: TokenStream, function: TokenStream) -> TokenStream {
    let is_fn =
        |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn");
    let Some(name) = function
        .clone()
        .into_iter()
        .skip_while(|token| !is_fn(token))
        .nth(1)
    else {
        return "compile_error!(\"`test` is for functions\");"
            .parse()
            .unwrap_or_default();
    };
    let mut output = function;
    let registration = format!("::sensor_tests::register_test!({name});");
    output.extend(registration.parse::<TokenStream>().unwrap_or_default());
    output
}
