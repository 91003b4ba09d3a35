// FOLDER/FILE is included as a file of another folder would: by the name that its CMake target sees, or does not see.
#include ANEMONE_INCLUDED
