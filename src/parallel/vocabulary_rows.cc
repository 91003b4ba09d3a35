#include "parallel/vocabulary_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "parallel/vocabulary.h"
#include "tensor/same.h"

namespace anemone {
namespace {

Result<Tensor> WithVocabRows(const Tensor& table, uint64_t rows) {
  if (table.shape().empty() || table.shape()[0] == rows) return table;
  if (table.shape()[0] > rows) return table.Narrow(0, 0, rows);
  return table.Pad(0, 0, rows - table.shape()[0]);
}

// A table that was padded for `tp` ranks, and how many of its rows are tokens: as many as the tokenizer beside it has,
// if padding makes the table's rows of them. Otherwise, Megatron pads with zero rows at the end, so the last row that
// is not all zeros is a token. A table that ends with more zeros than padding makes was not padded by Megatron.
Result<uint64_t> TokensIn(const Tensor& table, std::optional<uint64_t> tokenizer, uint64_t divisor, int tp) {
  const uint64_t stored = table.shape()[0];
  if (tokenizer && PaddedVocab(*tokenizer, divisor, tp) == stored) return *tokenizer;
  const uint64_t multiple = divisor * static_cast<uint64_t>(tp);
  for (uint64_t rows = stored; rows > 1 && stored - rows < multiple; --rows) {
    ANEMONE_ASSIGN(const Tensor row, table.Narrow(0, rows - 1, 1));
    ANEMONE_ASSIGN(const bool zero, IsZero(row));
    if (!zero) return rows;
  }
  return stored;
}

Status GuessVocab(const NameMatcher& naming, const std::string& prefix, const Checkpoint& checkpoint, int tp,
                  ModelSymbols* dims) {
  std::map<std::string, uint64_t> tokens, of_biases;  // by tower; biases count where there is no table
  ANEMONE_ASSIGN(const std::optional<uint64_t> tokenizer, CountTokens(checkpoint));
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    const auto hit = naming.Match(item.name, prefix);
    if (!hit || item.tensor() == nullptr || naming.row(hit->row).split != Split::kVocab ||
        item.tensor()->shape().empty())
      continue;
    const std::string& tower = naming.row(hit->row).tower;
    ANEMONE_ASSIGN(const std::optional<uint64_t> is_known, dims->Find(tower, "vocab_is_known"));
    if (is_known.value_or(0) != 0) continue;
    ANEMONE_ASSIGN(const uint64_t rows, TokensIn(*item.tensor(), tokenizer, VocabDivisor(checkpoint), tp));
    uint64_t& most = (item.tensor()->shape().size() == 1 ? of_biases : tokens)[tower];
    most = std::max(most, rows);
  }
  tokens.merge(of_biases);
  for (const auto& [tower, rows] : tokens) dims->Set(InTower(tower, "vocab"), rows);
  return {};
}

// Tells that tables of `before` rows have `after` now. Two steps, merging before splitting, are one change.
void NoteRows(uint64_t before, uint64_t after, std::string_view why, Checkpoint* checkpoint) {
  std::vector<ResizedRows>& told = checkpoint->origin.resized_rows;
  const auto earlier = std::ranges::find(told, before, &ResizedRows::now);
  if (earlier != told.end()) {
    if (std::erase(checkpoint->notes, earlier->note) > 0) before = earlier->stored;
    told.erase(earlier);
  }
  if (before == after) return;
  std::string note = fmt::format("vocabulary: {} → {} rows, {}", before, after, why);
  checkpoint->notes.push_back(note);
  told.push_back({before, after, std::move(note)});
}

}  // namespace

Status PadForRanks(const ResolvedModel& model, ModelSymbols* dims, int tp, int was_tp, Checkpoint* checkpoint) {
  const NameMatcher& naming = model.names;
  const std::string prefix = naming.BestPrefix(checkpoint->weights()).prefix;
  if (was_tp > 0) {
    ANEMONE_TRY(GuessVocab(naming, prefix, *checkpoint, was_tp, dims));
  }
  StateDict padded;
  std::set<std::pair<uint64_t, uint64_t>> resized;  // rows before and after
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    const auto hit = naming.Match(item.name, prefix);
    if (!hit || item.tensor() == nullptr || naming.row(hit->row).split != Split::kVocab) {
      ANEMONE_TRY(padded.Add(item.name, item.entry));
      continue;
    }
    if (item.tensor()->shape().empty()) {
      return Corrupt(fmt::format("{}: expected one row for each token of the vocabulary, found shape []", item.name));
    }
    const StoredRow& row = naming.row(hit->row);
    ANEMONE_ASSIGN(const uint64_t vocab, dims->Of(row.tower, "vocab"));
    ANEMONE_ASSIGN(const uint64_t rows, VocabRows(*checkpoint, row.tower, vocab, tp));
    const uint64_t before = item.tensor()->shape()[0];
    ANEMONE_ASSIGN(Tensor table, WithVocabRows(*item.tensor(), rows));
    ANEMONE_TRY(padded.Add(item.name, std::move(table)));
    dims->Set(InTower(row.tower, "padded_vocab"), rows);
    if (rows == before && vocab == before && was_tp > tp) {
      ANEMONE_ASSIGN(const std::optional<uint64_t> tokens, CountTokens(*checkpoint));
      if (!tokens) {
        checkpoint->notes.push_back(
            fmt::format("{}: keeps its {} rows, as nothing says how many of them are tokens", item.name, rows));
      }
    }
    if (rows < vocab) {
      checkpoint->notes.push_back(
          fmt::format("{}: {} rows became {}, as the config has them", item.name, before, rows));
    } else if (rows != before) {
      resized.emplace(before, rows);
    }
  }
  const uint64_t divisor = VocabDivisor(*checkpoint);
  for (const auto& [before, rows] : resized) {
    const bool is_padded = rows % (divisor * static_cast<uint64_t>(tp)) == 0;
    NoteRows(before, rows,
             is_padded ? fmt::format("padded to a multiple of {} × TP {}", divisor, tp) : "as the config has them",
             checkpoint);
  }
  checkpoint->weights() = std::move(padded);
  return {};
}

}  // namespace anemone
