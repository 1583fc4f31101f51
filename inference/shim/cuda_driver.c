/* The CUDA driver, opened when it is first called. It comes with NVIDIA's kernel
 * module: a program that was linked with libcuda.so.1 does not even start on a
 * machine without. These are the functions that ggml-cuda calls; one that it
 * calls and this file lacks is an error when the program is linked.
 *
 * The runtime, which is linked statically, opens the driver by itself. */
#include <cuda.h>
#include <dlfcn.h>

/* All are called when memory pools grow, so that finding them anew is cheap enough. */
static void *driver(const char *name) {
    void *lib = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    return lib ? dlsym(lib, name) : NULL;
}

#define TEXT(name) #name
#define DRIVER(name, parameters, arguments)                                         \
    CUresult CUDAAPI name parameters {                                              \
        CUresult (*call) parameters = (CUresult (*) parameters) driver(TEXT(name)); \
        return call ? call arguments : CUDA_ERROR_NO_DEVICE;                        \
    }

DRIVER(cuDeviceGet, (CUdevice *device, int ordinal), (device, ordinal))
DRIVER(cuDeviceGetAttribute, (int *value, CUdevice_attribute what, CUdevice device), (value, what, device))
DRIVER(cuMemAddressFree, (CUdeviceptr at, size_t size), (at, size))
DRIVER(cuMemAddressReserve, (CUdeviceptr *at, size_t size, size_t alignment, CUdeviceptr wish, unsigned long long flags),
       (at, size, alignment, wish, flags))
DRIVER(cuMemCreate, (CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *properties, unsigned long long flags),
       (handle, size, properties, flags))
DRIVER(cuMemGetAllocationGranularity,
       (size_t *granularity, const CUmemAllocationProp *properties, CUmemAllocationGranularity_flags which),
       (granularity, properties, which))
DRIVER(cuMemMap, (CUdeviceptr at, size_t size, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags),
       (at, size, offset, handle, flags))
DRIVER(cuMemRelease, (CUmemGenericAllocationHandle handle), (handle))
DRIVER(cuMemSetAccess, (CUdeviceptr at, size_t size, const CUmemAccessDesc *accesses, size_t count), (at, size, accesses, count))
DRIVER(cuMemUnmap, (CUdeviceptr at, size_t size), (at, size))

/* ggml prints what this gives, in every case. */
CUresult CUDAAPI cuGetErrorString(CUresult error, const char **text) {
    CUresult (*call)(CUresult, const char **) = (CUresult (*)(CUresult, const char **)) driver("cuGetErrorString");
    *text = "there is no CUDA driver (libcuda.so.1)";
    return call ? call(error, text) : CUDA_ERROR_NO_DEVICE;
}
