// The modules of a checkpoint as a tree for a terminal.
#ifndef ANEMONE_CLI_TREE_H_
#define ANEMONE_CLI_TREE_H_

#include <string>

#include "anemone/checkpoint.h"

namespace anemone::cli {

// A line a module, with its parameters; siblings that are numbered one after the other and have the same tensors are
// one line, "0–11". Of a checkpoint split over ranks the tree of each rank.
std::string ModuleTree(const Checkpoint& checkpoint);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_TREE_H_
