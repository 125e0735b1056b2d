//! The part of TensorFlow Lite's FlatBuffers schema that students use (field numbers of the public schema.fbs, version 3).
//!
//! Operators carry the oldest version that allows their types, so that old runtimes read the file.

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

/// Constant data starts at multiples of this, in bytes, as the schema asks.
const ALIGNMENT: usize = 16;

/// Element types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Float = 0,
    Int32 = 2,
    Int8 = 9,
}

/// Affine quantisation: `real = (q - zero_point) * scale`; one scale for the tensor, or one for each slice of dimension 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantization {
    pub scales: Vec<f32>,
    pub zero_point: i64,
}

/// A tensor of the graph; constant if it holds data.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub dims: Vec<usize>,
    pub kind: Kind,
    pub quantization: Option<Quantization>,
    /// Little-endian bytes, row-major.
    pub data: Option<Vec<u8>>,
}

/// Operators, with their options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Input NHWC, weights OHWI, bias; `same` pads as TensorFlow does, otherwise not at all; ReLU follows.
    Conv2d {
        same: bool,
        stride: usize,
        quantized: bool,
    },
    Pad {
        quantized: bool,
    },
    Dequantize,
    /// Keeps the reduced dimensions.
    Mean,
    /// Input flattened to rows, weights `out` rows of `in`, bias.
    FullyConnected,
    Logistic,
    Add,
    Mul,
    Sub,
}

/// One node; tensors by index.
#[derive(Debug, Clone, PartialEq)]
pub struct Operator {
    pub op: Op,
    pub inputs: Vec<usize>,
    pub output: usize,
}

/// A model of one graph.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    pub description: String,
    pub tensors: Vec<Tensor>,
    pub operators: Vec<Operator>,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
}

type Ref = WIPOffset<UnionWIPOffset>;

enum Field {
    Byte(i8),
    Union(u8),
    Bool(bool),
    Int(i32),
    Unsigned(u32),
    Ref(Ref),
}

/// Number of an operator and its version; number and fields of its options.
struct Code {
    operator: i8,
    version: i32,
    options: u8,
    fields: Vec<(u16, Field)>,
}

const RELU: i8 = 1;

impl Op {
    fn code(self) -> Code {
        let code = |operator, version, options, fields| Code { operator, version, options, fields };
        match self {
            Op::Conv2d { same, stride, quantized } => {
                let (padding, stride) = (Field::Byte(i8::from(!same)), stride as i32);
                let fields =
                    vec![(0, padding), (1, Field::Int(stride)), (2, Field::Int(stride)), (3, Field::Byte(RELU))];
                code(3, if quantized { 3 } else { 1 }, 1, fields)
            }
            Op::Pad { quantized } => code(34, if quantized { 2 } else { 1 }, 22, vec![]),
            Op::Dequantize => code(6, 2, 38, vec![]),
            Op::Mean => code(40, 1, 27, vec![(0, Field::Bool(true))]),
            Op::FullyConnected => code(9, 1, 8, vec![]),
            Op::Logistic => code(14, 1, 0, vec![]),
            Op::Add => code(0, 1, 11, vec![]),
            Op::Mul => code(18, 1, 21, vec![]),
            Op::Sub => code(41, 1, 28, vec![]),
        }
    }
}

struct Writer(FlatBufferBuilder<'static>);

impl Writer {
    fn table(&mut self, fields: Vec<(u16, Field)>) -> Ref {
        let start = self.0.start_table();
        for (id, field) in fields {
            let slot = 4 + 2 * id;
            match field {
                Field::Byte(v) => self.0.push_slot_always(slot, v),
                Field::Union(v) => self.0.push_slot_always(slot, v),
                Field::Bool(v) => self.0.push_slot_always(slot, v),
                Field::Int(v) => self.0.push_slot_always(slot, v),
                Field::Unsigned(v) => self.0.push_slot_always(slot, v),
                Field::Ref(v) => self.0.push_slot_always(slot, v),
            }
        }
        self.0.end_table(start).as_union_value()
    }

    fn text(&mut self, text: &str) -> Field {
        Field::Ref(self.0.create_string(text).as_union_value())
    }

    fn ints(&mut self, v: &[usize]) -> Field {
        let v: Vec<i32> = v.iter().map(|&x| x as i32).collect();
        Field::Ref(self.0.create_vector(&v).as_union_value())
    }

    fn refs(&mut self, v: &[Ref]) -> Field {
        Field::Ref(self.0.create_vector(v).as_union_value())
    }

    /// Fills up with zeros until what is written, and `more` bytes after it, end at a multiple of [`ALIGNMENT`]. The file is
    /// written from its end, so this places the start of the next thing.
    fn align(&mut self, more: usize) {
        let over = (self.0.unfinished_data().len() + more) % ALIGNMENT;
        for _ in 0..(ALIGNMENT - over) % ALIGNMENT {
            self.0.push(0u8);
        }
    }

    fn buffer(&mut self, data: &[u8]) -> Ref {
        self.align(data.len());
        let data = Field::Ref(self.0.create_vector(data).as_union_value());
        self.table(vec![(0, data)])
    }

    fn tensor(&mut self, tensor: &Tensor, buffer: u32) -> Ref {
        let mut fields = vec![(1, Field::Byte(tensor.kind as i8)), (2, Field::Unsigned(buffer))];
        if let Some(q) = &tensor.quantization {
            let scales = Field::Ref(self.0.create_vector(&q.scales).as_union_value());
            let zeros = Field::Ref(self.0.create_vector(&vec![q.zero_point; q.scales.len()]).as_union_value());
            fields.push((4, Field::Ref(self.table(vec![(2, scales), (3, zeros), (6, Field::Int(0))]))));
        }
        fields.push((0, self.ints(&tensor.dims)));
        fields.push((3, self.text(&tensor.name)));
        self.table(fields)
    }

    fn operator(&mut self, operator: &Operator, code: u32) -> Ref {
        let Code { options, fields, .. } = operator.op.code();
        let mut all = vec![(0, Field::Unsigned(code))];
        if options != 0 {
            let table = self.table(fields);
            all.extend([(3, Field::Union(options)), (4, Field::Ref(table))]);
        }
        all.push((1, self.ints(&operator.inputs)));
        all.push((2, self.ints(&[operator.output])));
        self.table(all)
    }
}

impl Graph {
    /// Serialises the graph.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer(FlatBufferBuilder::new());
        // Buffer 0 is the empty one that tensors without data name.
        let mut buffers = vec![w.table(vec![])];
        let mut tensors = vec![];
        for t in &self.tensors {
            let buffer = t.data.as_ref().map_or(0, |_| buffers.len() as u32);
            buffers.extend(t.data.as_ref().map(|d| w.buffer(d)));
            tensors.push(w.tensor(t, buffer));
        }
        let mut known = vec![];
        let mut codes = vec![];
        let mut operators = vec![];
        for o in &self.operators {
            let Code { operator, version, .. } = o.op.code();
            let at = known.iter().position(|k| *k == (operator, version)).unwrap_or_else(|| {
                known.push((operator, version));
                let builtin = [(0, Field::Byte(operator)), (2, Field::Int(version)), (3, Field::Int(operator.into()))];
                codes.push(w.table(builtin.into()));
                codes.len() - 1
            });
            operators.push(w.operator(o, at as u32));
        }
        let graph = vec![
            (0, w.refs(&tensors)),
            (1, w.ints(&self.inputs)),
            (2, w.ints(&self.outputs)),
            (3, w.refs(&operators)),
            (4, w.text("main")),
        ];
        let graph = w.table(graph);
        let model = vec![
            (0, Field::Unsigned(3)),
            (1, w.refs(&codes)),
            (2, w.refs(&[graph])),
            (3, w.text(&self.description)),
            (4, w.refs(&buffers)),
        ];
        let root = w.table(model);
        w.align(2 * size_of::<u32>());
        w.0.finish(root, Some("TFL3"));
        w.0.finished_data().to_vec()
    }
}
