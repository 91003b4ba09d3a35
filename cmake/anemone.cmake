# The few words the project's CMake files are written in.

# Warnings and sanitizers: PRIVATE to our own targets, never exported to a consumer.
add_library(anemone_options INTERFACE)
target_compile_features(anemone_options INTERFACE cxx_std_20)
if(ANEMONE_DEVELOPER_MODE)
  target_compile_options(anemone_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
                                                   -Wnon-virtual-dtor -Woverloaded-virtual $<$<BOOL:${ANEMONE_WERROR}>:-Werror>)
  # GCC 12 sees overlapping copies inside std::string at -O3 (its bug 105651), and values that are not set inside
  # std::optional at -O1 and -O2 (its bug 80635); clang's analysis of the same code stays on.
  target_compile_options(anemone_options INTERFACE "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-maybe-uninitialized>")
endif()
if(ANEMONE_SANITIZE)
  target_compile_options(anemone_options INTERFACE -fsanitize=${ANEMONE_SANITIZE} -fno-sanitize-recover=all
                                                   -fno-omit-frame-pointer)
  target_link_options(anemone_options INTERFACE -fsanitize=${ANEMONE_SANITIZE})
endif()
# A fuzzer that does not see the library's branches does not grow a corpus (fuzz/sees.cmake tests that it does).
if(ANEMONE_FUZZ_ENGINE)
  target_compile_options(anemone_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# One folder of src/: an object library whose objects become part of `anemone`, or of the library that LIBRARY names. DEPENDS names the folders that it may
# include, and with each those that this one may; LINK its outside libraries. A folder is seen by its name through a link
# in its own build folder, which is its include directory: an include of any other folder does not compile.
function(anemone_headers name)
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_BINARY_DIR}/${name} SYMBOLIC)
  add_library(anemone_${name}_headers INTERFACE)
  list(TRANSFORM ARGN REPLACE "(.+)" "anemone_\\1_headers" OUTPUT_VARIABLE depends)
  target_include_directories(anemone_${name}_headers INTERFACE ${PROJECT_SOURCE_DIR}/include ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(anemone_${name}_headers INTERFACE ${depends})
endfunction()

function(anemone_folder name)
  cmake_parse_arguments(ARG "" "LIBRARY" "DEPENDS;SOURCES;LINK" ${ARGN})
  anemone_headers(${name} ${ARG_DEPENDS})
  add_library(anemone_${name} OBJECT ${ARG_SOURCES})
  set_target_properties(anemone_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden)
  target_link_libraries(anemone_${name} PRIVATE $<BUILD_INTERFACE:anemone_${name}_headers> $<BUILD_INTERFACE:anemone_options>
                                                ${ARG_LINK})
  set_property(GLOBAL APPEND PROPERTY ANEMONE_FOLDERS_${ARG_LIBRARY} anemone_${name})
  set_property(GLOBAL APPEND PROPERTY ANEMONE_LINK_${ARG_LIBRARY} ${ARG_LINK})
endfunction()

# One test program of GoogleTest cases, linked to the whole library. Working directory: the source tree's root.
function(anemone_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LABELS;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE anemone_options anemone_testing ${ARG_LINK})
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" FIXTURES_REQUIRED golden TIMEOUT 600)
endfunction()

# One fuzz target, fuzz/NAME_fuzz.cc. Ordinarily it is linked with a main that replays fuzz/corpus/NAME; with
# ANEMONE_FUZZ_ENGINE, with libFuzzer.
function(anemone_fuzz name)
  add_executable(${name}_fuzz ${name}_fuzz.cc)
  target_link_libraries(${name}_fuzz PRIVATE anemone_options anemone_of_clip)
  target_include_directories(${name}_fuzz PRIVATE ${PROJECT_SOURCE_DIR}/src)
  if(ANEMONE_FUZZ_ENGINE)
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name}_fuzz PRIVATE $<TARGET_OBJECTS:fuzz_replay>)
    add_test(NAME ${name}_fuzz COMMAND ${name}_fuzz ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
    set_tests_properties(${name}_fuzz PROPERTIES LABELS fuzz TIMEOUT 300)
  endif()
endfunction()
