//! Reads PTX as NVRTC writes it: our kernels' instructions, each with the modifiers that are understood, and no others.

use super::instruction::{
    Access, B32, COMPUTE, Compute, Instruction, Kernel, Kind, Module, Operation, Source, Space, Type,
};
use std::collections::BTreeMap;

/// Operations that only carry bits, whatever their type.
const CARRY: [Compute; 2] = [Compute::Move, Compute::Select];

impl Module {
    /// # Errors
    /// Kernel and statement that are not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text: String = text.lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
        let mut kernels = BTreeMap::new();
        for part in text.split(".entry ").skip(1) {
            let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let (head, body) = part.split_once('{').ok_or_else(|| format!("{name}: no body"))?;
            let end = end_of_body(body).ok_or_else(|| format!("{name}: no end"))?;
            let reader = Reader { name: &name, ..Reader::default() };
            let kernel =
                reader.read(&body[..end], head.matches(".param").count()).map_err(|e| format!("{name}: {e}"))?;
            kernels.insert(name, kernel);
        }
        Ok(Self { kernels })
    }
}

/// Where the brace is that closes the one before the text.
fn end_of_body(text: &str) -> Option<usize> {
    let mut depth = 1;
    text.char_indices().find_map(|(i, c)| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        (depth == 0).then_some(i)
    })
}

/// Splits at commas that stand in no braces and brackets.
fn operands(text: &str) -> Vec<&str> {
    let (mut all, mut depth, mut from) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        depth += i32::from("{[".contains(c)) - i32::from("}]".contains(c));
        if c == ',' && depth == 0 {
            all.push(text[from..i].trim());
            from = i + 1;
        }
    }
    all.push(text[from..].trim());
    all.retain(|o| !o.is_empty());
    all
}

/// The parts of a vector, or the operand itself.
fn parts(operand: &str) -> Vec<&str> {
    operand.trim_matches(['{', '}']).split(',').map(str::trim).collect()
}

#[derive(Default)]
struct Reader<'a> {
    name: &'a str,
    kernel: Kernel,
    names: BTreeMap<String, usize>,
    labels: BTreeMap<&'a str, usize>,
    /// Instructions that jump, and where to.
    jumps: Vec<(usize, &'a str)>,
}

impl<'a> Reader<'a> {
    fn read(mut self, body: &'a str, parameters: usize) -> Result<Kernel, String> {
        self.kernel.parameters = parameters;
        // Braces of inline assembly close after its last statement.
        let open = |s: &'a str| s.trim_start_matches(|c: char| c.is_whitespace() || c == '{' || c == '}');
        for statement in body.split(';') {
            let mut s = open(statement).trim_end();
            while let Some((label, rest)) = s.split_once(':').filter(|(l, _)| l.starts_with('$')) {
                self.labels.insert(label, self.kernel.code.len());
                s = open(rest);
            }
            let read = match s {
                "" => Ok(()),
                _ if s.starts_with(".pragma") => Ok(()),
                _ if s.starts_with(".reg") => self.declare(s),
                _ => self.instruction(s),
            };
            read.map_err(|e| format!("{e}: {s}"))?;
        }
        for (at, label) in &self.jumps {
            let to = *self.labels.get(label).ok_or_else(|| format!("no label {label}"))?;
            self.kernel.code[*at].operation = Operation::Jump { to };
        }
        Ok(self.kernel)
    }

    /// `.reg .b32 %r<9>` or `.reg .b64 %name`.
    fn declare(&mut self, s: &str) -> Result<(), String> {
        let mut words = s.split_whitespace().skip(1);
        let ty = words.next().and_then(|w| Type::parse(w.strip_prefix('.')?)).ok_or("type")?;
        let name = words.next().ok_or("name")?;
        let range = name.strip_suffix('>').and_then(|n| n.split_once('<'));
        let names = match range {
            Some((stem, count)) => {
                let count: usize = count.parse().map_err(|_| "count")?;
                (0..count).map(|i| format!("{stem}{i}")).collect()
            }
            None => vec![name.to_owned()],
        };
        for name in names {
            self.names.insert(name, self.kernel.registers.len());
            self.kernel.registers.push(ty.bits);
        }
        Ok(())
    }

    fn register(&self, word: &str) -> Result<usize, String> {
        self.names.get(word).copied().ok_or_else(|| format!("no register {word}"))
    }

    fn registers(&self, operand: &str) -> Result<Vec<usize>, String> {
        parts(operand).into_iter().map(|w| self.register(w)).collect()
    }

    fn source(&self, word: &str) -> Result<Source, String> {
        Ok(match word {
            "%tid.x" => Source::Thread,
            "%ctaid.x" => Source::Block,
            "%ntid.x" => Source::Threads,
            "%nctaid.x" => Source::Blocks,
            // The dynamic shared memory is all there is, from 0 on.
            "vaerr_shared" => Source::Immediate(0),
            _ if word.starts_with('%') => Source::Register(self.register(word)?),
            _ => Source::Immediate(immediate(word).ok_or_else(|| format!("operand {word}"))?),
        })
    }

    fn sources<const N: usize>(&self, words: &[&str]) -> Result<[Source; N], String> {
        let mut all = [Source::Immediate(0); N];
        for (to, word) in all.iter_mut().zip(words) {
            *to = self.source(word)?;
        }
        Ok(all)
    }

    /// `[base+offset]`, `[base]`, or `[KERNEL_param_2]`, whose offset is the number.
    fn address(&self, operand: &str) -> Result<(Source, i64), String> {
        let inner = operand.strip_prefix('[').and_then(|w| w.strip_suffix(']')).ok_or("address")?;
        if let Some(number) = inner.strip_prefix(self.name).and_then(|r| r.strip_prefix("_param_")) {
            return Ok((Source::Immediate(0), number.parse().map_err(|_| "parameter")?));
        }
        let (base, offset) = inner.split_once('+').unwrap_or((inner, "0"));
        Ok((self.source(base)?, offset.parse().map_err(|_| "offset")?))
    }

    fn instruction(&mut self, s: &'a str) -> Result<(), String> {
        let (guard, rest) = match s.strip_prefix('@') {
            Some(guarded) => {
                let (word, rest) = guarded.split_once(char::is_whitespace).ok_or("guard")?;
                let (name, wanted) = word.strip_prefix('!').map_or((word, true), |n| (n, false));
                (Some((self.register(name)?, wanted)), rest.trim_start())
            }
            None => (None, s),
        };
        let (opcode, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let operation = match opcode {
            "bra" | "bra.uni" => {
                self.jumps.push((self.kernel.code.len(), rest.trim()));
                Operation::Jump { to: 0 }
            }
            "ret" => Operation::Return,
            "trap" => Operation::Trap,
            "membar.gl" => Operation::Fence,
            "bar.sync" if rest.trim() == "0" => Operation::Barrier,
            _ => self.with_operands(opcode, &operands(rest))?,
        };
        if operation.collective() && guard.is_some() {
            return Err("a guarded collective".into());
        }
        let text = s.split_whitespace().collect::<Vec<_>>().join(" ");
        self.kernel.code.push(Instruction { guard, operation, text });
        Ok(())
    }

    fn with_operands(&self, opcode: &str, given: &[&str]) -> Result<Operation, String> {
        let (name, modifiers) = opcode.split_once('.').ok_or("not known")?;
        match (name, given) {
            ("ld", [to, at]) => {
                let (access, parts) = self.access(modifiers, at)?;
                let to = self.registers(to)?;
                if to.len() == parts { Ok(Operation::Load { access, to }) } else { Err("vector".into()) }
            }
            ("st", [at, from]) => {
                let (access, count) = self.access(modifiers, at)?;
                let values = parts(from).into_iter().map(|w| self.source(w)).collect::<Result<Vec<_>, _>>()?;
                if values.len() == count { Ok(Operation::Store { access, values }) } else { Err("vector".into()) }
            }
            ("atom", [to, at, value]) => {
                let modifiers = modifiers.strip_suffix(".add.u32").ok_or("not known")?;
                let (access, _) = self.access(&format!("{modifiers}.u32"), at)?;
                let access = Access { strong: true, ..access };
                Ok(Operation::AtomicAdd { access, to: self.register(to)?, value: self.source(value)? })
            }
            ("shfl", [to, from @ ..]) if from.len() == 4 => {
                let butterfly = match modifiers {
                    "sync.idx.b32" => false,
                    "sync.bfly.b32" => true,
                    _ => return Err("not known".into()),
                };
                let (to, inside) = to.split_once('|').map_or((*to, None), |(t, p)| (t, Some(p)));
                let inside = inside.map(|p| self.register(p)).transpose()?;
                Ok(Operation::Shuffle { butterfly, to: self.register(to)?, inside, sources: self.sources(from)? })
            }
            ("mma", [to, from @ ..]) => {
                let shape =
                    modifiers.strip_prefix("sync.aligned.").and_then(|m| m.strip_suffix(".row.col.s32.u8.s8.s32"));
                let count = match shape.ok_or("not known")? {
                    "m16n8k32" => 10,
                    "m8n8k16" => 4,
                    _ => return Err("not known".into()),
                };
                let words = from.iter().flat_map(|o| parts(o));
                let sources = words.map(|w| self.source(w)).collect::<Result<Vec<_>, _>>()?;
                let to = self.registers(to)?;
                let fits = sources.len() == count && to.len() == if count == 10 { 4 } else { 2 };
                if fits { Ok(Operation::Matrix { to, sources }) } else { Err("operands".into()) }
            }
            (_, [to, from @ ..]) => {
                let (what, ty, source_type, count) = compute(opcode).ok_or("not known")?;
                if from.len() != count {
                    return Err("operands".into());
                }
                let (to, sources) = (self.register(to)?, self.sources(from)?);
                Ok(Operation::Compute { what, ty, from: source_type, to, sources })
            }
            _ => Err("not known".into()),
        }
    }

    /// How an address is accessed, and how many values there are.
    fn access(&self, modifiers: &str, at: &str) -> Result<(Access, usize), String> {
        let (base, offset) = self.address(at)?;
        let (mut access, mut count) =
            (Access { space: Space::Generic, ty: B32, strong: false, constant: false, base, offset }, 1);
        let mut typed = false;
        for word in modifiers.split('.') {
            match word {
                "global" => access.space = Space::Global,
                "shared" => access.space = Space::Shared,
                "param" => access.space = Space::Parameter,
                "volatile" | "relaxed" => access.strong = true,
                "nc" => access.constant = true,
                "v2" => count = 2,
                "v4" => count = 4,
                // The scope of `relaxed`.
                "gpu" if access.strong => {}
                _ => {
                    access.ty = Type::parse(word).filter(|t| t.kind != Kind::Predicate).ok_or("not known")?;
                    typed = true;
                }
            }
        }
        if typed { Ok((access, count)) } else { Err("type".into()) }
    }
}

/// Meaning, types of the result and of the source, and number of sources.
fn compute(opcode: &str) -> Option<(Compute, Type, Type, usize)> {
    let types: Vec<Type> = opcode.split('.').filter_map(Type::parse).collect();
    let ty = *types.first()?;
    let from = types.get(1).copied().unwrap_or(ty);
    let bare = opcode.split('.').filter(|w| Type::parse(w).is_none()).collect::<Vec<_>>().join(".");
    let float = types.iter().any(|t| t.kind == Kind::Float);
    let find = |key: &str| COMPUTE.iter().find(|c| c.0 == key);
    let (_, what, count) = find(opcode).or_else(|| find(&bare).filter(|c| !float || CARRY.contains(&c.1)))?;
    let whole = match what {
        Compute::DotOfBytes => types.len() == 2,
        Compute::Convert | Compute::ToFloat | Compute::ToInteger => types.len() == 2,
        // Of other signedness and width the rest of the meaning differs.
        Compute::Extract => ty == Type { kind: Kind::Unsigned, bits: 32 },
        Compute::Insert | Compute::Funnel => ty == B32,
        _ => types.len() == 1,
    };
    whole.then_some((*what, ty, from, *count))
}

fn immediate(word: &str) -> Option<u64> {
    if let Some(bits) = word.strip_prefix("0f").or(word.strip_prefix("0F")) {
        return u64::from_str_radix(bits, 16).ok();
    }
    let (digits, negative) = word.strip_prefix('-').map_or((word, false), |d| (d, true));
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse::<u64>().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}
