# Makes one archive of several: cmake -DAR=… -DOUT=… -P merge-archives.cmake -- ARCHIVE…
#
# What `ar -M` reads knows no quotes, so that no path may stand in it: the
# archives get short names in a folder of their own. It also ends well after a
# mistake, so the result is looked for.
cmake_minimum_required(VERSION 3.18)

set(dir "${OUT}.parts")
file(REMOVE_RECURSE "${dir}")
file(REMOVE "${OUT}")
file(MAKE_DIRECTORY "${dir}")

set(script "CREATE all.a\n")
set(archives FALSE)
set(count 0)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE 1 ${last})
  if(archives)
    file(CREATE_LINK "${CMAKE_ARGV${i}}" "${dir}/${count}.a" SYMBOLIC)
    string(APPEND script "ADDLIB ${count}.a\n")
    math(EXPR count "${count} + 1")
  elseif("${CMAKE_ARGV${i}}" STREQUAL "--")
    set(archives TRUE)
  endif()
endforeach()
file(WRITE "${dir}/script" "${script}SAVE\nEND\n")

execute_process(COMMAND "${AR}" -M INPUT_FILE "${dir}/script" WORKING_DIRECTORY "${dir}"
  RESULT_VARIABLE code OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(NOT code EQUAL 0 OR NOT EXISTS "${dir}/all.a")
  message(FATAL_ERROR "${AR} -M made no archive of ${count}: ${said}")
endif()
file(RENAME "${dir}/all.a" "${OUT}")
file(REMOVE_RECURSE "${dir}")
