// The rules that every family's tables obey.
#ifndef ANEMONE_SCHEMA_CHECK_H_
#define ANEMONE_SCHEMA_CHECK_H_

#include <vector>

#include "anemone/status.h"
#include "schema/table.h"

namespace anemone {

// Every symbol that a row, a split or a transform reads is declared; layers' flags stand only where a layer is known;
// patterns parse, no name can match two rows, captures agree with the canonical row's; every canonical row is written
// by each dialect that writes its tower; drops and what is made say why. Errors: Internal, naming the row.
Status CheckTable(const std::vector<Symbol>& symbols, const std::vector<CanonicalRow>& canonical,
                  const Dialect& dialect);

}  // namespace anemone

#endif  // ANEMONE_SCHEMA_CHECK_H_
