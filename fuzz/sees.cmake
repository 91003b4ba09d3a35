# The flags of the preset `fuzz` reach the library: an object of it, built so, has coverage counters.
# cmake -D SOURCE=… -D BUILD=… -P sees.cmake
function(run)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY ${SOURCE} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
endfunction()
set(object src/base/CMakeFiles/anemone_base.dir/cores.cc.o)
run(${CMAKE_COMMAND} --preset fuzz -B ${BUILD})
run(${CMAKE_COMMAND} --build ${BUILD} --target ${object})
file(STRINGS ${BUILD}/${object} counters REGEX "__sancov_cntrs")
if(NOT counters)
  message(FATAL_ERROR "${object}: expected coverage counters, found none: a fuzzer does not see the library")
endif()
