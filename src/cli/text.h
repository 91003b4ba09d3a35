// Text for people: sizes, counts, columns, one-line messages.
#ifndef ANEMONE_CLI_TEXT_H_
#define ANEMONE_CLI_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace anemone::cli {

std::string HumanBytes(uint64_t bytes);                       // "1.7 GB": powers of 1000, as disks are sold
std::string Counted(uint64_t count, std::string_view thing);  // "1 tensor", "2 tensors"
std::string HumanCount(uint64_t count);                       // "428 M"
// Control characters and bytes that are not UTF-8 escaped, so that a hostile file name or tensor name cannot write to
// the terminal.
std::string OneLine(std::string_view text);
// Columns that `text`, UTF-8, takes on a terminal, one a character.
size_t Width(std::string_view text);
// The first `columns` of those.
std::string Leading(std::string_view text, size_t columns);
// Broken between words into lines of at most `width` columns, `indent` before all but the first.
std::string Wrap(std::string_view text, size_t width, const std::string& indent);
// The lines of a text; `is_code`: one that begins with two blanks, which is not wrapped.
struct Line {
  std::string_view text;
  bool is_code;
};
std::vector<Line> LinesOf(std::string_view text);
// Left-aligned columns two spaces apart; the last is not padded, and no line ends in blanks.
std::string Columns(const std::vector<std::vector<std::string>>& rows);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_TEXT_H_
