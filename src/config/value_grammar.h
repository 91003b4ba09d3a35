// The value grammar that OmegaConf's resolver arguments and Hydra's overrides share
// [omegaconf/grammar/OmegaConfGrammarParser.g4, hydra/grammar/OverrideParser.g4]: numbers, booleans, null, bare words,
// quoted strings, [lists], {dicts}, `${…}`.
#ifndef ANEMONE_CONFIG_VALUE_GRAMMAR_H_
#define ANEMONE_CONFIG_VALUE_GRAMMAR_H_

#include <functional>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone::internal {

// The value of one interpolation, given whole ("${a.b}"). Where none is given, interpolations stay text.
using Interpolate = std::function<Result<ConfigNode>(std::string_view interpolation)>;

// The offset just past the `${…}` that starts at text[at]. Errors: InvalidArgument (it does not end).
Result<size_t> InterpolationEnd(std::string_view text, size_t at);
// Text outside quotes: a lone interpolation gives its value, others are spliced in as Python's str() spells them, `\${`
// is `${`. With `interpolate` only.
Result<ConfigNode> ExpandText(std::string_view text, const Interpolate& interpolate);
// One value, spaces around it ignored; the empty text is the empty string. Errors: InvalidArgument (grammar),
// Unsupported (sweeps, functions), and those of `interpolate`.
Result<ConfigNode> ParseElement(std::string_view text, const Interpolate& interpolate);
// Values separated by commas; none when the text is blank.
Result<std::vector<ConfigNode>> ParseArguments(std::string_view text, const Interpolate& interpolate);

}  // namespace anemone::internal

#endif  // ANEMONE_CONFIG_VALUE_GRAMMAR_H_
