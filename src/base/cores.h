// UsableCores: how many threads are of use at once.
#ifndef ANEMONE_BASE_CORES_H_
#define ANEMONE_BASE_CORES_H_

namespace anemone {

// The cores that the calling thread may run on: fewer than the machine has where mpirun, srun, taskset or a container
// bound it to some. At least 1.
unsigned UsableCores();

}  // namespace anemone

#endif  // ANEMONE_BASE_CORES_H_
