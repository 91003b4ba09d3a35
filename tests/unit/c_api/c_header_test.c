/* c.h is C: this file need only compile. */
#include "anemone/c.h"

anemone_kind anemone_c_header_test(void);
anemone_kind anemone_c_header_test(void) { return anemone_status_kind(NULL); }
