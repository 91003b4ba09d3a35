// What Python prints, where users compare our output with NeMo's line by line.
#ifndef ANEMONE_CLIP_PYTHON_REPR_H_
#define ANEMONE_CLIP_PYTHON_REPR_H_

#include <span>
#include <string>
#include <string_view>

namespace anemone {

// repr() of a str: single quotes unless it holds one and no double quote; what Python does not call printable escaped.
// Bytes that are not UTF-8 appear as Python shows a command line's: \udcXX.
std::string PythonRepr(std::string_view text);

// repr() of a numpy.float32 before NumPy 2: the fewest digits that give the same float back, positional from 1e-4 (the
// exact value is compared: 0.0001f lies below) up to 1e16, else scientific.
std::string NumpyRepr(float value);

// NeMo's megatron_clip_infer.py, two spaces included:
//     Given image's CLIP text probability:  [('a dog', 0.0049710185), ('a boy', 0.002258187)]
// REQUIRES: as many probabilities as texts.
std::string ProbabilityLine(std::span<const std::string> texts, std::span<const float> probabilities);

}  // namespace anemone

#endif  // ANEMONE_CLIP_PYTHON_REPR_H_
