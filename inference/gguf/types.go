package gguf

import "fmt"

// ValueType is the type of a metadata value, numbered as in the file.
type ValueType uint32

// Value types of GGUF.
const (
	Uint8   ValueType = 0
	Int8    ValueType = 1
	Uint16  ValueType = 2
	Int16   ValueType = 3
	Uint32  ValueType = 4
	Int32   ValueType = 5
	Float32 ValueType = 6
	Bool    ValueType = 7
	String  ValueType = 8
	Array   ValueType = 9
	Uint64  ValueType = 10
	Int64   ValueType = 11
	Float64 ValueType = 12
)

var valueTypes = [...]struct {
	name string
	size uint64 // bytes; 0 for strings and arrays
}{
	Uint8: {"uint8", 1}, Int8: {"int8", 1}, Uint16: {"uint16", 2}, Int16: {"int16", 2},
	Uint32: {"uint32", 4}, Int32: {"int32", 4}, Float32: {"float32", 4}, Bool: {"bool", 1},
	String: {"string", 0}, Array: {"array", 0}, Uint64: {"uint64", 8}, Int64: {"int64", 8},
	Float64: {"float64", 8},
}

func (t ValueType) known() bool { return int(t) < len(valueTypes) }

// size is the bytes of one value; 0 for strings and arrays.
func (t ValueType) size() uint64 { return valueTypes[t].size }

func (t ValueType) String() string {
	if !t.known() {
		return fmt.Sprintf("type %d", uint32(t))
	}
	return valueTypes[t].name
}

// isInteger reports whether values of the type are whole numbers.
func (t ValueType) isInteger() bool {
	switch t {
	case Uint8, Int8, Uint16, Int16, Uint32, Int32, Uint64, Int64:
		return true
	}
	return false
}

// TensorType is the type of a tensor's elements, numbered as ggml_type.
type TensorType uint32

// Tensor types that checks refer to by name.
const (
	TensorF32  TensorType = 0
	TensorF16  TensorType = 1
	TensorBF16 TensorType = 30
)

// tensorTypes are ggml's types with the number of elements in a block and the
// bytes of a block (ggml.c and ggml-common.h of llama.cpp v0.5.0). A type with
// no name here was removed from the format.
var tensorTypes = [...]struct {
	name       string
	block      uint64 // elements
	blockBytes uint64
}{
	0: {"F32", 1, 4}, 1: {"F16", 1, 2}, 2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20},
	6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24}, 8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144}, 13: {"Q5_K", 256, 176},
	14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292}, 16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74},
	18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110},
	22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136}, 24: {"I8", 1, 1}, 25: {"I16", 1, 2},
	26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8}, 29: {"IQ1_M", 256, 56},
	30: {"BF16", 1, 2},
	34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36},
	41: {"Q1_0", 128, 18}, 42: {"Q2_0", 64, 18},
}

func (t TensorType) known() bool { return int(t) < len(tensorTypes) && tensorTypes[t].name != "" }

// removed reports a type that older files used and llama.cpp no longer reads.
func (t TensorType) removed() bool { return int(t) < len(tensorTypes) && tensorTypes[t].name == "" }

func (t TensorType) String() string {
	if !t.known() {
		return fmt.Sprintf("type %d", uint32(t))
	}
	return tensorTypes[t].name
}

// isFloat reports a plain floating-point type that every operation can read.
func (t TensorType) isFloat() bool { return t == TensorF32 || t == TensorF16 || t == TensorBF16 }

// isInteger reports a type that holds indices, not weights.
func (t TensorType) isInteger() bool { return t >= 24 && t <= 27 }

// fileTypes names general.file_type (llama_ftype of llama.cpp v0.5.0).
var fileTypes = map[uint64]string{
	0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
	11: "Q3_K_S",
	12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
	19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
	26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
	36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0", 41: "Q2_0",
}
