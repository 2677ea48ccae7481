# Writes the file that tells ctest of a test program's tests; run after the
# program has been built.
#
#   cmake -D PROGRAM=FILE -D LEVEL=NAME -D BY=test|suite -D OUTPUT=FILE
#         [-D MACHINE=FILE] -P register_tests.cmake
#
# BY test: each test is a process of its own. BY suite: all tests of a suite run
# one after the other in one process, on one machine if MACHINE makes one.
#
# Names say what ctest has to know. `Thorough` in the name of a suite or of an
# instance: not in the quick pass. `Alone`: nothing else runs meanwhile.
cmake_minimum_required(VERSION 3.25)

execute_process(COMMAND ${PROGRAM} --gtest_list_tests OUTPUT_VARIABLE listing
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX REPLACE " *#[^\n]*" "" listing "${listing}")
string(REPLACE "\n" ";" listing "${listing}")

set(text "")
function(add name filter)
  set(labels ${LEVEL})
  if(name MATCHES "^[^.]*Thorough")
    list(APPEND labels thorough)
  endif()
  set(properties "LABELS [=[${labels}]=] TIMEOUT 300")
  if(name MATCHES "^[^.]*Alone")
    string(APPEND properties " RUN_SERIAL ON")
  endif()
  # One that is skipped must not hide another one of its suite that fails.
  if(BY STREQUAL "test")
    string(APPEND properties
           " SKIP_REGULAR_EXPRESSION [=[\\[  SKIPPED \\]]=]")
  endif()
  set(command "[=[${PROGRAM}]=] [=[--gtest_filter=${filter}]=]")
  if(MACHINE)
    string(PREPEND command "[=[${MACHINE}]=] ")
  endif()
  string(APPEND text
         "add_test([=[${name}]=] ${command})\n"
         "set_tests_properties([=[${name}]=] PROPERTIES ${properties})\n")
  set(text "${text}" PARENT_SCOPE)
endfunction()

set(suite "")
foreach(line IN LISTS listing)
  if(line MATCHES "^([^ ]+)\\.$")
    set(suite ${CMAKE_MATCH_1})
    if(BY STREQUAL "suite")
      add("${suite}" "${suite}.*")
    endif()
  elseif(BY STREQUAL "test" AND line MATCHES "^  (.+)$")
    add("${suite}.${CMAKE_MATCH_1}" "${suite}.${CMAKE_MATCH_1}")
  endif()
endforeach()
file(WRITE ${OUTPUT} "${text}")
