# libagent_llama.a and the CPU modules of `make package`; see docs/dev/packaging.md.
#
# The archive is one object: all of llama.cpp, of ggml without its CPU backend,
# of the shim and of libgomp. The program exports what exports.txt names, and the
# modules link nothing but the C library: they find ggml, and the one OpenMP
# runtime of the process, in the program that loads them.
#
# Of ggml's variants those of which many processors are in use; the others run
# the next lower one. GCC 12 can't compile those of armv9.
set(variants
  sse42          # x86-64-v2: Nehalem, 2008
  sandybridge    # AVX
  haswell        # x86-64-v3: AVX2 and FMA; AMD until Zen 3
  alderlake      # AVX-VNNI: client processors without AVX-512
  skylakex       # x86-64-v4: AVX-512
  cascadelake    # its VNNI; Ice Lake has nothing more that ggml has code for
  zen4           # BF16
  sapphirerapids # AMX
  armv8.0_1      # any arm64: Raspberry Pi 4, Graviton 1
  armv8.2_2      # dot products, FP16: Raspberry Pi 5, Graviton 2, Apple's under Linux
  armv8.6_1      # SVE, I8MM: Graviton 3
  armv8.6_2)     # SVE2: Graviton 4
set(modules)
foreach(v ${variants})
  if(TARGET ggml-cpu-${v})
    list(APPEND modules ggml-cpu-${v})
  endif()
endforeach()
string(REPLACE ";" "\n" names "${modules}")
file(WRITE ${CMAKE_BINARY_DIR}/modules.txt "${names}\n")

add_library(agent_compat OBJECT inference/shim/compat.c)
set(dir ${CMAKE_BINARY_DIR}/modules)
foreach(m ${modules})
  get_target_property(defined ${m} COMPILE_DEFINITIONS)
  if(GGML_OPENMP AND NOT "GGML_USE_OPENMP" IN_LIST defined)
    message(FATAL_ERROR "agent: ${CMAKE_CXX_COMPILER} can't link an OpenMP program, so the modules would be without it")
  endif()
  set_target_properties(${m} PROPERTIES
    LINK_LIBRARIES "${m}-feats;agent_compat;pthread"
    LIBRARY_OUTPUT_DIRECTORY ${dir})
  target_include_directories(${m} PRIVATE ${LLAMA_DIR}/ggml/include)
  target_compile_definitions(${m} PRIVATE GGML_SHARED)
  target_compile_options(${m} PRIVATE $<$<BOOL:${GGML_OPENMP}>:-fopenmp>)
  target_link_options(${m} PRIVATE -static-libstdc++ -Wl,--exclude-libs,ALL -Wl,-s)
endforeach()

function(compiler_file name out)
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=${name}
    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT IS_ABSOLUTE "${found}")
    message(FATAL_ERROR "agent: ${name} of ${CMAKE_CXX_COMPILER} is missing; packages are built with GCC")
  endif()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()
compiler_file(libgomp.a gomp)
compiler_file(libstdc++.a stdcxx)

set(objects)
foreach(t llama ggml ggml-base agent_shim agent_compat)
  list(APPEND objects $<TARGET_OBJECTS:${t}>)
endforeach()
set(out ${CMAKE_BINARY_DIR}/libagent_llama.a)
set(whole ${CMAKE_BINARY_DIR}/agent_llama.o)
add_custom_command(OUTPUT ${out}
  COMMAND ${CMAKE_LINKER} -r -o ${whole} ${objects} --whole-archive ${gomp}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${out}
  COMMAND ${CMAKE_AR} qcs ${out} ${whole}
  # Beside the archive, so that -lstdc++ means this one and not the shared one.
  COMMAND ${CMAKE_COMMAND} -E copy ${stdcxx} ${CMAKE_BINARY_DIR}
  DEPENDS ${objects} COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(agent_llama ALL DEPENDS ${out})
add_dependencies(agent_llama ${modules})
