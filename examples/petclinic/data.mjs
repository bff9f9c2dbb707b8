// Who comes to the clinic.

const owner = (firstName, lastName, address, city, telephone, ...pets) => ({
  firstName,
  lastName,
  address,
  city,
  telephone,
  pets,
})

export const OWNERS = [
  owner('Greta', 'Lund', '12 Harbour Row', 'Porto Verde', '5550001023', 'Basil'),
  owner('Tomas', 'Okafor', '7 Mill Lane', 'Ashford', '5550001749', 'Pickle', 'Juno'),
  owner('Mirai', 'Sato', '31 Cedar Street', 'Ashford', '5550008763', 'Mochi'),
  owner('Leon', 'Barros', '4 Quayside', 'Porto Verde', '5550003198', 'Captain'),
  owner('Aisha', 'Rahman', '90 Orchard Way', 'Linden', '5550002765', 'Saffron', 'Clove'),
  owner('Pavel', 'Novak', '2 Chapel Hill', 'Linden', '5550002654', 'Rook'),
]

const vet = (firstName, lastName, ...specialties) => ({ firstName, lastName, specialties })

export const VETS = [
  vet('Ines', 'Carvalho'),
  vet('Henrik', 'Dahl', 'radiology'),
  vet('Noor', 'Haddad', 'dentistry', 'surgery'),
  vet('Owen', 'Pryce', 'surgery'),
]
